/**
 * Errors in one form: `Cannot <action>: <requirement>: current value is <value>`.
 *
 * All that the toolkit throws by itself is a {@linkcode LabError}, and its message is meant for users. Any
 * other error is a fault of the toolkit, except those that a signal or a callback of the caller throws.
 *
 * @module
 */

/** Base of the errors that the toolkit throws; catch it to tell them from faults in the code. */
export abstract class LabError extends Error {}

/** An adapter, compile, out-of-memory or device-lost failure; `cause` holds the original. */
export class GpuError extends LabError {
  /** Always `GpuError`. */
  override readonly name = "GpuError";
  /** Whether the device had too little memory, so that lower demands may succeed. */
  readonly isOutOfMemory: boolean;
  /** Whether the device is gone, so that only a new process may get another. */
  readonly isDeviceLost: boolean;

  /**
   * Makes the error.
   *
   * @param message What failed, in the form of all errors.
   * @param options The original error; whether memory or the loss of the device was the reason.
   */
  constructor(
    message: string,
    options: ErrorOptions & { readonly isOutOfMemory?: boolean; readonly isDeviceLost?: boolean } =
      {},
  ) {
    super(message, options);
    this.isOutOfMemory = options.isOutOfMemory ?? false;
    this.isDeviceLost = options.isDeviceLost ?? false;
  }
}

/** A file or folder that is missing, damaged or not what it should be. */
export class DataError extends LabError {
  /** Always `DataError`. */
  override readonly name = "DataError";
}

/** A command line that cannot be understood; the process exits with code 2. */
export class UsageError extends LabError {
  /** Always `UsageError`. */
  override readonly name = "UsageError";
}

/** Parts of a refusal. */
export interface Refusal {
  /** What could not be done, as in "match heads". */
  readonly action: string;
  /** What must hold. */
  readonly requirement: string;
  /** The value that does not fit. */
  readonly current?: unknown;
  /** The current state in words, as in "policy is h2o", where the value does not tell it. */
  readonly state?: string;
}

/** An argument that is not what it must be; the fields are the parts of the message. */
export class RequirementError extends LabError {
  /** Always `RequirementError`. */
  override readonly name = "RequirementError";
  /** What could not be done, as in "match heads". */
  readonly action: string;
  /** What must hold. */
  readonly requirement: string;
  /** The value that does not fit, or the current state in words, as in "policy is h2o". */
  readonly current: unknown;
  /** Requirement and present state, for a message that names the action in other words. */
  readonly reason: string;

  /**
   * Makes the error.
   *
   * @param refusal Parts of the message.
   */
  constructor(refusal: Refusal) {
    const { action, requirement, current, state = `value is ${current}` } = refusal;
    const reason = `${requirement}: current ${state}`;
    super(`Cannot ${action}: ${reason}`);
    this.action = action;
    this.requirement = requirement;
    this.current = current ?? state;
    this.reason = reason;
  }
}

/** Bounds of an integer argument. */
export interface IntegerBounds {
  /** The value to check. */
  readonly value: number;
  /** Smallest allowed; -2^53 + 1 if left out. */
  readonly min?: number;
  /** Largest allowed; 2^53 - 1 if left out. */
  readonly max?: number;
}

/**
 * Throws unless a value is an integer within bounds.
 *
 * @param action What could not be done, as in "match heads".
 * @throws {RequirementError} If the value is not such an integer, or the bounds leave none.
 */
export function checkInteger(action: string, name: string, bounds: IntegerBounds): void {
  const { value, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  if (!(min <= max)) {
    // The bounds come from another value that is wrong or leaves nothing, so this one is not to blame.
    const requirement = `what limits ${name} must leave a value for it`;
    throw new RequirementError({ action, requirement, state: `limits are ${min} and ${max}` });
  }
  const range = max === Number.MAX_SAFE_INTEGER
    ? `at least ${min}`
    : min === Number.MIN_SAFE_INTEGER
    ? `at most ${max}`
    : `from ${min} to ${max}`;
  throw new RequirementError({
    action,
    requirement: `${name} must be an integer ${range}`,
    current: value,
  });
}

/**
 * Throws unless two lengths are equal.
 *
 * @throws {RequirementError} If they differ.
 */
export function checkLength(
  action: string,
  name: string,
  lengths: { readonly required: number; readonly current: number },
): void {
  if (lengths.required === lengths.current) return;
  throw new RequirementError({
    action,
    requirement: `${name} must have length ${lengths.required}`,
    state: `length is ${lengths.current}`,
  });
}
