/**
 * Sums of attention from keys in 32 bits, beside a prefill that caches them in 16.
 *
 * @see docs/method.md, "Head matching"
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { ropeCacheCommand } from "../../kernels/rope_cache.ts";
import { softmaxSumsBlocks, softmaxSumsCommand } from "../../kernels/softmax_sums.ts";
import {
  attentionShape,
  type ForwardState,
  type StepShape,
  usedShare,
} from "../../models/forward/forward.ts";
import { layerRotation } from "../../models/rotation.ts";
import { createTaps, type LayerArrays } from "../../models/forward/taps.ts";
import { checkFinite } from "./step_io.ts";

/** What the first tokens of a text receive from each other. Disposing it frees its keys and sums. */
export class ExactSums implements Disposable {
  readonly #state: ForwardState;
  readonly #tokens: number;
  /** The only sequence, and its tokens before the newest chunk. */
  readonly #start: DeviceBuffer;
  /** Keys of each layer, f32 [kvHeads, tokens, headDim]. */
  readonly #keys: readonly DeviceBuffer[];
  /** Sums of each block of a chunk's rows, f32 [blocks, queryHeads, tokens] per layer. */
  readonly #sums: LayerArrays;
  readonly #blocks: number;
  readonly #owned: DisposableStack;

  /**
   * Allocates keys and sums.
   *
   * @param state Model and buffers of the session that runs the text.
   * @param tokens How many of its first tokens count.
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(state: ForwardState, tokens: number) {
    const { device, config, workspace } = state;
    using stack = new DisposableStack();
    this.#state = state;
    this.#tokens = tokens;
    this.#blocks = softmaxSumsBlocks(Math.min(workspace.shape.rows, tokens));
    this.#start = stack.use(device.createBuffer("tokens before a chunk", 8));
    const bytes = 4 * config.kvHeads * tokens * config.headDim;
    this.#keys = Array.from(
      { length: config.layers },
      (_, layer) => stack.use(device.createBuffer(`32-bit keys of layer ${layer}`, bytes)),
    );
    const shape = { capacity: tokens, sequences: this.#blocks, accumulate: true, masked: false };
    this.#sums = stack.use(createTaps(device, config, shape)).sums!;
    this.#owned = stack.move();
  }

  /**
   * Prepares for a chunk of the text, in order from its beginning.
   *
   * @param start Tokens before the chunk.
   * @param step Its rows, of one sequence.
   * @returns Commands of each layer right after its attention; undefined if no row counts.
   */
  observe(start: number, step: StepShape): ((layer: number) => Command[]) | undefined {
    if (start >= this.#tokens) return undefined;
    this.#state.device.write(this.#start, 0, Uint32Array.of(0, start));
    return (layer) => this.#commands(step, layer);
  }

  /**
   * Reads what each token has received.
   *
   * @returns Column sums, [layers * queryHeads, tokens].
   * @throws {GpuError} If a sum is not finite.
   */
  async read(): Promise<Float32Array> {
    const { device, config: { layers, queryHeads } } = this.#state;
    const all = new Float32Array(await device.read(this.#sums.buffer));
    const size = queryHeads * this.#tokens;
    const result = new Float32Array(layers * size);
    for (let layer = 0; layer < layers; layer++) {
      for (let block = 0; block < this.#blocks; block++) {
        const first = layer * this.#sums.layerWords + block * size;
        for (let i = 0; i < size; i++) result[layer * size + i]! += all[first + i]!;
      }
    }
    checkFinite("attention with keys in 32 bits", result);
    return result;
  }

  /** Frees keys and sums. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #commands(step: StepShape, layer: number): Command[] {
    const { config, weights, workspace, cache } = this.#state;
    const { queryNorm, keyNorm } = weights.layers[layer]!;
    const buffers = { state: this.#start, qkv: workspace.queryKeyValue, keys: this.#keys[layer]! };
    const keys = { capacity: this.#tokens, ring: undefined, keyFormat: "f32" } as const;
    const shape = { ...attentionShape(this.#state, step, layer), ...keys, isMasked: false };
    return [
      ropeCacheCommand({
        ...buffers,
        ...(queryNorm && { q_norm: queryNorm }),
        ...(keyNorm && { k_norm: keyNorm }),
        rotation: layerRotation(this.#state, layer),
        values: cache.layers[layer]!.values, // they stay as they are
      }, { ...shape, isKeysOnly: true, epsilon: config.normEpsilon * usedShare(config) }),
      softmaxSumsCommand({ ...buffers, sums: this.#sums.windows[layer]! }, shape),
    ];
  }
}
