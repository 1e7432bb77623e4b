/**
 * One call at a time: sessions change their caches across many awaited steps, between which no other call may come.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";

/** What calls need of a model. */
type OpenModel = Pick<Model, "name" | "weights">;

/**
 * Throws if a model has been closed.
 *
 * @param action What cannot be done then.
 * @throws {RequirementError} If it has.
 */
export function checkOpen({ name, weights }: OpenModel, action: string): void {
  if (!weights.isFreed()) return;
  const requirement = `the model ${name} must be open`;
  throw new RequirementError({ action, requirement, state: "state is closed" });
}

/** Calls of one session, or of anything else whose state a call must find as the last one left it. */
export class Calls {
  readonly #owner: string;
  readonly #models: readonly OpenModel[];
  /** What the calls that run do: one that may change the owner, or any number that only read. */
  readonly #actions: string[] = [];
  #isChanging = false;
  #failure: unknown;
  #isClosed = false;

  /** Starts without a call; the owner's name is used in errors, and the models must stay open. */
  constructor(owner = "session", models: readonly OpenModel[] = []) {
    this.#owner = owner;
    this.#models = models;
  }

  /** Refuses every further call. */
  close(): void {
    this.#isClosed = true;
  }

  /**
   * Begins a call.
   *
   * @param action What it does, as in "decode".
   * @param options Whether it only reads, so that others that read may come meanwhile.
   * @returns Ends the call when disposed.
   * @throws {RequirementError} If a call that may change something has not ended, one has failed in a `change`, or the owner or
   *   a model has been closed.
   */
  begin(action: string, { isRead = false }: { readonly isRead?: boolean } = {}): Disposable {
    const owner = this.#owner;
    if (this.#isClosed) {
      throw new RequirementError({
        action,
        requirement: `the ${owner} must be open`,
        state: "state is closed",
      });
    }
    for (const model of this.#models) checkOpen(model, action);
    if (this.#isChanging || (!isRead && this.#actions.length > 0)) {
      const requirement = `the ${owner} must have finished its last call`;
      throw new RequirementError({ action, requirement, state: `call is to ${this.#actions[0]}` });
    }
    if (this.#failure !== undefined) {
      const requirement = `no call may have failed halfway, start another ${owner}`;
      throw new RequirementError({ action, requirement, state: `failure is: ${this.#failure}` });
    }
    this.#isChanging = !isRead;
    this.#actions.push(action);
    return {
      [Symbol.dispose]: () => {
        this.#actions.pop();
        this.#isChanging = false;
      },
    };
  }

  /**
   * Runs the part of a call that cannot be undone: if it fails, every further call is refused.
   *
   * @param work What changes the session.
   * @returns Its result.
   */
  async change<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#failure = error ?? "unknown";
      throw error;
    }
  }
}
