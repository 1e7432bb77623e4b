/**
 * Attention that the tokens of a text have received by each of its steps, with everything kept.
 *
 * @module
 */

import type { SharedActivations } from "../../decoding/engine/shared_activations.ts";
import { Session } from "../../decoding/session/session.ts";
import type { Model } from "../../models/load.ts";

/** What is read once more. */
export interface ReceivedOptions {
  /** Token ids. */
  readonly prompt: readonly number[];
  /** Most tokens after them. */
  readonly newTokens: number;
  /** Activations that it shares with the text's own tracks. */
  readonly activations: SharedActivations;
}

/** A text that is read once more, by the full cache. */
export class ReceivedAttention implements Disposable {
  readonly #session: Session;
  readonly #model: Model;
  readonly #options: ReceivedOptions;
  readonly #steps: Float32Array<ArrayBuffer>[] = [];

  /**
   * Reads nothing yet.
   *
   * @param model The model.
   * @param options What it reads, and where it computes.
   */
  constructor(model: Model, options: ReceivedOptions) {
    this.#model = model;
    this.#options = options;
    const { prompt, newTokens, activations: { large: activations } } = options;
    const capacity = prompt.length + newTokens; // the last token is chosen, and not read
    this.#session = new Session(model, { capacity, accumulate: true, activations });
  }

  /** Tokens after the prompt that have been read; -1 before it has been. */
  get readTokens(): number {
    return this.#steps.length - 1;
  }

  /** Copies what has been read, for a text that continues in another way. */
  async copy(): Promise<ReceivedAttention> {
    using stack = new DisposableStack();
    const copy = stack.use(new ReceivedAttention(this.#model, this.#options));
    using saved = await this.#session.save(0);
    await copy.#session.restore(saved, 0);
    copy.#session.clearAccumulated(await this.#session.accumulated());
    copy.#steps.push(...this.#steps);
    stack.move();
    return copy;
  }

  /**
   * Reads a text as far as it has been written; what has been read is not read again.
   *
   * @param written Token ids after the prompt, which begin with those of the call before.
   * @param signal Ends the reading of the prompt.
   * @returns After the prompt and after each of the tokens, what every token has received, mean over the query heads of a KV
   *   head, [layers * KV heads, tokens so far] each.
   */
  async upTo(
    written: readonly number[],
    signal?: AbortSignal,
  ): Promise<readonly Float32Array<ArrayBuffer>[]> {
    using _activations = this.#options.activations.begin("read a text once more");
    while (this.#steps.length <= written.length) {
      await this.#read(written[this.#steps.length - 1], signal);
      this.#steps.push(this.#meanOfGroups(await this.#session.accumulated()));
    }
    return this.#steps.slice(0, written.length + 1);
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#session.close();
  }

  /** Reads the prompt, or one token: by a decode step, whose commands are recorded only once. */
  async #read(token: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    if (token === undefined) {
      const options = { logits: "none", ...(signal && { signal }) } as const;
      return await this.#session.prefill(this.#options.prompt, options);
    }
    this.#session.replaceNext([token]);
    await this.#session.decode(1);
  }

  #meanOfGroups(sums: Float32Array): Float32Array<ArrayBuffer> {
    const { layers, queryHeads, kvHeads } = this.#model.config;
    const [tokens, group] = [sums.length / (layers * queryHeads), queryHeads / kvHeads];
    const means = new Float32Array(layers * kvHeads * tokens);
    for (let head = 0; head < layers * queryHeads; head++) {
      const mean = Math.floor(head / group) * tokens;
      for (let token = 0; token < tokens; token++) {
        means[mean + token]! += sums[head * tokens + token]! / group;
      }
    }
    return means;
  }
}
