/**
 * Submits the steps of a forward pass, and keeps the recordings that are used again.
 *
 * @module
 */

import { PromiseCache } from "../../core/promise_cache.ts";
import type { Command, Recording } from "../../gpu/device.ts";
import type {
  ForwardState,
  HeadRows,
  LayerOptions,
  StepShape,
} from "../../models/forward/forward.ts";
import {
  argmaxStep,
  embeddingStep,
  layerStep,
  logitsStep,
} from "../../models/forward/transformer.ts";
import { layersStep } from "./commands.ts";

/** How the attention of a step's rows is summed, and whether the last layer's output is needed; see `LayerOptions`. */
type PassOptions = Required<Pick<LayerOptions, "hasOutput" | "isSummed" | "rowDecay">> & {
  /** Commands of each layer right after attention. */
  readonly observe?: (layer: number) => Command[];
};

/** Runs steps of one session. */
export class StepRunner implements Disposable {
  readonly #state: ForwardState;
  readonly #chunk: number;
  readonly #kept = new DisposableStack();
  readonly #recordings = new PromiseCache<string, readonly Recording[]>();

  /**
   * Records nothing yet: commands are recorded when a step first needs them.
   *
   * @param state Model and buffers.
   * @param chunk Rows of the steps whose recordings are kept.
   */
  constructor(state: ForwardState, chunk: number) {
    this.#state = state;
    this.#chunk = chunk;
  }

  /** Runs embedding and all layers. */
  async layers(step: StepShape, pass: PassOptions): Promise<void> {
    const isChunk = step.sequences === 1 && step.rowsPerSequence === this.#chunk;
    if (isChunk && pass.rowDecay === 1 && !pass.observe) {
      const key = JSON.stringify([pass.isSummed, pass.hasOutput]);
      const recordings = await this.#recordings.get(key, async () => {
        using owner = new DisposableStack();
        const made = await this.#recordLayers(step, { owner, ...pass });
        this.#kept.use(owner.move());
        return made;
      });
      return this.#submitEach(recordings);
    }
    using owner = new DisposableStack();
    this.#submitEach(await this.#recordLayers(step, { owner, ...pass }));
  }

  /** Looks up the step's tokens. */
  async embedding(step: StepShape): Promise<void> {
    await this.#once("embedding", embeddingStep(this.#state, step));
  }

  /** Runs one layer, with the attention maps that are captured. */
  async layer(step: StepShape, options: LayerOptions): Promise<void> {
    await this.#once(`layer ${options.layer}`, layerStep(this.#state, step, options));
  }

  /** Computes logits of some rows of the last step. */
  async logits(rows: HeadRows): Promise<void> {
    await this.#once("logits", logitsStep(this.#state, rows));
  }

  /** Chooses the most likely next token from the logits of one row per sequence. */
  async choose(step: StepShape): Promise<void> {
    await this.#once("choice of the next token", argmaxStep(this.#state, step));
  }

  /** Submits decode steps of all sequences at once; nothing is read back in between. */
  async decode(steps: number): Promise<void> {
    const [recording] = await this.#recordings.get("decode", () => this.#recordDecode());
    this.#state.device.submit(...new Array<Recording>(steps).fill(recording!));
  }

  /** Frees the kept recordings. */
  [Symbol.dispose](): void {
    this.#kept.dispose();
  }

  async #recordLayers(
    step: StepShape,
    { owner, observe, hasOutput, ...sums }: PassOptions & { readonly owner: DisposableStack },
  ): Promise<Recording[]> {
    const { device, config } = this.#state;
    const recordings = [
      owner.use(await device.record("embedding", embeddingStep(this.#state, step))),
    ];
    for (let layer = 0; layer < config.layers; layer++) {
      const commands = layerStep(this.#state, step, {
        layer,
        ...sums,
        hasOutput: hasOutput || layer < config.layers - 1,
        ...(observe && { observe: observe(layer) }),
      });
      recordings.push(owner.use(await device.record(`layer ${layer}`, commands)));
    }
    return recordings;
  }

  async #recordDecode(): Promise<readonly Recording[]> {
    const { device, workspace } = this.#state;
    const { sequences } = workspace.shape;
    const step = { sequences, rowsPerSequence: 1 };
    const commands = [
      ...layersStep(this.#state, step),
      ...logitsStep(this.#state, { rows: sequences, rowStep: 1, rowOffset: 0 }),
      ...argmaxStep(this.#state, step),
    ];
    return [this.#kept.use(await device.record("decode step", commands))];
  }

  /** One submission per recording, since a driver may hold the host until a submission ends. */
  #submitEach(recordings: readonly Recording[]): void {
    for (const recording of recordings) this.#state.device.submit(recording);
  }

  async #once(label: string, commands: readonly Command[]): Promise<void> {
    using recording = await this.#state.device.record(label, commands);
    this.#state.device.submit(recording);
  }
}
