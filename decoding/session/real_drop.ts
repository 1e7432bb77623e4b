/**
 * The true forward pass of the saliency-shift measurement: tokens dropped for good halfway through a text.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, figure 1(b)
 * @module
 */

import { checkInteger, RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import { Session } from "./session.ts";

/** Keeps the state after the first part of a text, so that several drops share one run of it. */
export class RealDrop implements Disposable {
  readonly #session: Session;
  readonly #tokens: readonly number[];
  readonly #firstTokens: number;

  private constructor(session: Session, tokens: readonly number[], firstTokens: number) {
    this.#session = session;
    this.#tokens = tokens;
    this.#firstTokens = firstTokens;
  }

  /**
   * Runs the first part of a text with nothing dropped.
   *
   * @param model Model to run.
   * @param tokens The whole text.
   * @param options Tokens of the first part, and a signal.
   * @returns The state after it.
   */
  static async start(
    model: Model,
    tokens: readonly number[],
    options: { readonly firstTokens: number; readonly signal?: AbortSignal },
  ): Promise<RealDrop> {
    const { firstTokens, signal } = options;
    const bounds = { value: firstTokens, min: 1, max: tokens.length - 1 };
    checkInteger("measure a real drop", "firstTokens", bounds);
    using stack = new DisposableStack();
    const session = stack.use(
      new Session(model, {
        capacity: tokens.length,
        accumulate: true,
        masked: true,
        isExact: true,
        holdsAll: true,
      }),
    );
    session.setVisible(() => true);
    const first = tokens.slice(0, firstTokens);
    await session.prefill(first, { logits: "none", ...(signal && { signal }) });
    stack.move();
    return new RealDrop(session, tokens, firstTokens);
  }

  /**
   * Runs the rest of the text, whose rows attend only to kept tokens of the first part and to each other.
   *
   * @param kept Per flat query head, the kept positions of the first part.
   * @param signal Stops between chunks.
   * @returns Column sums over the rows of the second part, [heads, tokens]; 0 where nothing is seen.
   * @throws {RequirementError} If there is not one list per head.
   */
  async rest(kept: readonly Uint32Array[], signal?: AbortSignal): Promise<Float32Array> {
    const { layers, queryHeads } = this.#session.model.config;
    if (kept.length !== layers * queryHeads) {
      throw new RequirementError({
        action: "measure a real drop",
        requirement: `kept must have ${layers * queryHeads} lists, one per query head`,
        state: `length is ${kept.length}`,
      });
    }
    const seen = kept.map((positions) => new Set(positions));
    this.#session.rewind(this.#firstTokens);
    this.#session.clearAccumulated();
    this.#session.setVisible((head, position) =>
      position >= this.#firstTokens || seen[head]!.has(position)
    );
    await this.#session.prefill(this.#tokens.slice(this.#firstTokens), {
      logits: "none",
      ...(signal && { signal }),
    });
    return await this.#session.accumulated();
  }

  /** Frees the session, as the end of `using` does. */
  close(): void {
    this.#session.close();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }
}
