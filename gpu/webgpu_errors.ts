/**
 * Turns the asynchronous errors of WebGPU into {@linkcode GpuError}s that say what was being done.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import { checkAlive } from "./commands.ts";

/** Scopes around every call that may fail, outermost first. */
const FILTERS: readonly GPUErrorFilter[] = ["validation", "out-of-memory", "internal"];

/** Collects the errors of one device until a call waits for it. */
export class ErrorLog {
  readonly #device: GPUDevice;
  readonly #pending = new Set<Promise<void>>();
  #first: GpuError | undefined;
  #lost: GpuError | undefined;
  #activity = "start";
  #isDisposed = false;

  /** Starts to listen. */
  constructor(device: GPUDevice) {
    this.#device = device;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const { error } = event as GPUUncapturedErrorEvent;
      this.add(failure(this.#activity, "WebGPU must accept it", error));
    });
    device.lost.then(({ message }) => {
      if (this.#isDisposed) return;
      this.#lost = new GpuError(
        `Cannot ${this.#activity}: the device must stay available: it was lost (${message})`,
        { isDeviceLost: true },
      );
    });
  }

  /** Marks the loss of the device as intended. */
  dispose(): void {
    this.#isDisposed = true;
  }

  /** Keeps an error for the next caller that waits; only the first is kept. */
  add(error: GpuError): void {
    this.#first ??= error;
  }

  /**
   * Throws if the device is gone.
   *
   * @param action What is about to be done; named if the device is lost meanwhile.
   * @throws {GpuError} If the device was lost or disposed.
   */
  begin(action: string): void {
    if (this.#lost !== undefined) throw this.#lost;
    checkAlive(action, this.#isDisposed);
    this.#activity = action;
  }

  /** Calls WebGPU and watches for errors that arrive later. */
  watch<T>(call: () => T, onError: (error: GPUError) => GpuError): T {
    const { result, errors } = this.#scoped(call);
    const pending: Promise<void> = errors.then((found) => {
      this.#pending.delete(pending);
      if (found !== undefined) this.add(onError(found));
    });
    this.#pending.add(pending);
    return result;
  }

  /** Calls WebGPU and waits until it reports success or an error. */
  async check<T>(call: () => T, onError: (error: GPUError) => GpuError): Promise<T> {
    const { result, errors } = this.#scoped(call);
    const found = await errors;
    if (found !== undefined) throw onError(found);
    return result;
  }

  /**
   * Waits until all calls so far have succeeded or failed.
   *
   * @throws {GpuError} The first error not yet reported, or that the device was lost.
   */
  async settle(): Promise<void> {
    await Promise.all(this.#pending);
    if (this.#lost !== undefined) throw this.#lost;
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) throw first;
  }

  #scoped<T>(call: () => T): { result: T; errors: Promise<GPUError | undefined> } {
    for (const filter of FILTERS) this.#device.pushErrorScope(filter);
    const pop = () => Promise.all(FILTERS.map(() => this.#device.popErrorScope()));
    try {
      const result = call();
      // A lost device has no scopes left; its loss is reported instead.
      const errors = pop().then(
        (found) => found.findLast((error) => error !== null) ?? undefined,
        () => undefined,
      );
      return { result, errors };
    } catch (error) {
      pop().catch(() => undefined);
      throw error;
    }
  }
}

/** Makes an error from what WebGPU reported. */
export function failure(
  action: string,
  requirement: string,
  cause: { readonly message: string },
): GpuError {
  return new GpuError(`Cannot ${action}: ${requirement}: ${oneLine(cause.message)}`, { cause });
}

/**
 * Puts a message on one line.
 *
 * @param message Text over several lines.
 * @returns The lines joined, without empty ones.
 */
export function oneLine(message: string): string {
  return message.split("\n").map((line) => line.trim()).filter((line) => line !== "").join("; ");
}
