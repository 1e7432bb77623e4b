/**
 * Activations that policy sessions share, one of which runs at a time.
 *
 * @module
 */

import { ActivationPool } from "../session/activation_pool.ts";
import { Calls } from "../session/calls.ts";

/** What sessions that decode side by side need only once, because they step one after another. */
export class SharedActivations {
  /** Of large models. */
  readonly large: ActivationPool = new ActivationPool();
  /** Of small models, apart because a step of both may be under way at the same time. */
  readonly small: ActivationPool = new ActivationPool();
  readonly #calls = new Calls("group of sessions that share activations");

  /**
   * Begins a call of one of the sessions.
   *
   * @param action What it does, as in "decode".
   * @returns Ends the call when disposed.
   * @throws {RequirementError} If a call of another one has not ended.
   */
  begin(action: string): Disposable {
    return this.#calls.begin(action);
  }
}
