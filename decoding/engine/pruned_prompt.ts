/**
 * A prompt that loses tokens from layer to layer.
 *
 * All rows run through every layer, one layer after the other, and no row sees a token that has not reached its layer.
 * The result is that of pruning hidden states, but it takes as long as an exact prompt: only the memory of the cache can
 * be compared, not the time to the first token.
 *
 * @module
 */

import { checkPruned } from "../../cache/plan_check.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { copyCommand } from "../session/commands.ts";
import type { ForwardState, LayerOptions } from "../../models/forward/forward.ts";
import {
  argmaxStep,
  embeddingStep,
  layerStep,
  logitsStep,
} from "../../models/forward/transformer.ts";
import { checkTokens, readLogits } from "../session/step_io.ts";
import { type MapBlock, MapReader } from "../session/maps.ts";
import { addRows, type PromptEvents, type PromptSequence } from "./prompt.ts";
import type { Session } from "../session/session.ts";
import { writeVisibleLayer } from "../session/taps.ts";

/** Some rows of a prompt that run together. */
interface Chunk {
  readonly first: number;
  readonly rows: number;
}

/**
 * Runs a prompt for a policy that prunes it, and sets what each layer of the sequence keeps.
 *
 * @param session Large model's session, masked; the sequence is empty.
 * @param tokens The prompt.
 * @param options The sequence; progress, signal, receiver of logits.
 * @throws {RequirementError} If the tokens do not fit, or what the policy chooses is not a part of what it was given.
 */
export async function runPrunedPrompt(
  session: Session,
  tokens: readonly number[],
  options: Omit<PromptEvents, "onProgress"> & {
    readonly promptSequence: PromptSequence;
    readonly onProgress?: (done: number) => void;
  },
): Promise<void> {
  const { promptSequence: { index, sequence }, signal, onLogits, onProgress } = options;
  const { forward } = session;
  const { device, config: { layers, vocabulary }, workspace } = forward;
  const { capacity } = workspace.shape;
  checkTokens(tokens, { vocabulary, room: capacity });
  device.write(workspace.tokens, 4 * index * capacity, Uint32Array.from(tokens));
  using stack = new DisposableStack();
  // What other prompts see does not depend on this one, however it ends.
  stack.defer(() => session.setVisible(() => true));
  const run = stack.use(new PrunedRun(forward, tokens.length, index));
  let reached = Uint32Array.from(tokens, (_, position) => position);
  const kept: Uint32Array[] = [];
  for (let layer = 0; layer < layers; layer++) {
    signal?.throwIfAborted();
    writeVisibleLayer(forward, layer, reached);
    await run.layer(layer, {
      reached,
      firstObserved: Math.max(0, tokens.length - sequence.promptRows),
      onMap: (block, first) => addRows(sequence.largeScores!, block, first),
    });
    const chosen = sequence.prune(layer, reached);
    checkPruned(chosen, { policy: sequence.policy, layer, reached });
    kept.push(chosen.kept);
    reached = Uint32Array.from(chosen.next);
    onProgress?.(Math.floor(tokens.length * (layer + 1) / layers));
  }
  await run.choose();
  if (onLogits) onLogits(await readLogits(forward, 1), [index]);
  sequence.keep(kept);
  session.advance(tokens.length, index);
}

/** How one layer is run. */
interface LayerRequest {
  /** Positions that have reached the layer. */
  readonly reached: Uint32Array;
  /** First row whose attention is read. */
  readonly firstObserved: number;
  /** Receives maps, and the first row of them that counts. */
  readonly onMap: (block: MapBlock, first: number) => void;
}

/** A prompt on its way through the layers. */
class PrunedRun implements Disposable {
  readonly #forward: ForwardState;
  readonly #sequence: number;
  readonly #chunks: readonly Chunk[];
  readonly #states: DeviceBuffer;
  readonly #maps: MapReader;

  constructor(forward: ForwardState, tokens: number, sequence: number) {
    const { device, workspace: { shape, strides } } = forward;
    this.#forward = forward;
    this.#sequence = sequence;
    this.#chunks = Array.from({ length: Math.ceil(tokens / shape.rows) }, (_, chunk) => ({
      first: chunk * shape.rows,
      rows: Math.min(shape.rows, tokens - chunk * shape.rows),
    }));
    this.#states = device.createBuffer("hidden states of a prompt", 4 * tokens * strides.hidden);
    this.#maps = new MapReader(device);
  }

  /** Runs a layer over all chunks, except those whose tokens have all been dropped. */
  async layer(layer: number, { reached, firstObserved, onMap }: LayerRequest): Promise<void> {
    for (const chunk of this.#chunks) {
      const end = chunk.first + chunk.rows;
      if (!reached.some((position) => position >= chunk.first && position < end)) continue;
      const heads = Array.from({ length: this.#forward.config.queryHeads }, (_, head) => head);
      const maps = end > firstObserved
        ? this.#maps.target(heads, { rows: chunk.rows, keys: end })
        : undefined;
      await this.#submit(chunk, { layer, isSummed: false, ...(maps && { maps }) });
      if (!maps) continue;
      const rows = { layer, firstQuery: chunk.first, queries: chunk.rows };
      for (const block of await this.#maps.read(maps, rows)) onMap(block, firstObserved);
    }
    await this.#forward.device.finished();
  }

  /** Computes the last row's logits and chooses the next token; the last chunk must be the newest one run. */
  async choose(): Promise<void> {
    const { rows } = this.#chunks.at(-1)!;
    await this.#run("choice of the next token", [
      ...logitsStep(this.#forward, { rows: 1, rowStep: 1, rowOffset: rows - 1 }),
      ...argmaxStep(this.#forward, { sequences: 1, rowsPerSequence: rows }),
    ]);
  }

  [Symbol.dispose](): void {
    this.#states[Symbol.dispose]();
    this.#maps[Symbol.dispose]();
  }

  async #submit({ first, rows }: Chunk, options: LayerOptions): Promise<void> {
    const { device, workspace: { state, hidden, strides } } = this.#forward;
    const step = { sequences: 1, rowsPerSequence: rows };
    const offset = 4 * first * strides.hidden;
    const byteLength = 4 * rows * strides.hidden;
    device.write(state, 0, Uint32Array.of(this.#sequence));
    device.write(state, 4 * (1 + this.#sequence), Uint32Array.of(first));
    const input: Command[] = options.layer === 0
      ? embeddingStep(this.#forward, step)
      : [copyCommand(this.#states, hidden, byteLength, { from: offset })];
    await this.#run(`layer ${options.layer}`, [
      ...input,
      ...layerStep(this.#forward, step, options),
      copyCommand(hidden, this.#states, byteLength, { to: offset }),
    ]);
  }

  async #run(label: string, commands: readonly Command[]): Promise<void> {
    const { device } = this.#forward;
    using recording = await device.record(label, commands);
    device.submit(recording);
  }
}
