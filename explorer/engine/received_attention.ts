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
    const capacity = prompt.length + newTokens;
    this.#session = new Session(model, { capacity, accumulate: true, activations });
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
      const { length } = this.#steps;
      const tokens = length === 0 ? this.#options.prompt : [written[length - 1]!];
      await this.#session.prefill(tokens, { logits: "none", ...(signal && { signal }) });
      this.#steps.push(this.#meanOfGroups(await this.#session.accumulated()));
    }
    return this.#steps.slice(0, written.length + 1);
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#session.close();
  }

  #meanOfGroups(sums: Float32Array): Float32Array<ArrayBuffer> {
    const { layers, queryHeads, kvHeads } = this.#model.config;
    const [tokens, group] = [sums.length / (layers * queryHeads), queryHeads / kvHeads];
    const means = new Float32Array(layers * kvHeads * tokens);
    sums.forEach((value, at) => {
      const head = Math.floor(at / tokens / group);
      means[head * tokens + at % tokens]! += value / group;
    });
    return means;
  }
}
