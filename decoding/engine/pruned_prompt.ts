/**
 * A prompt that loses tokens from layer to layer.
 *
 * In each layer only the tokens that have reached it are computed. What works row by row (norms, products, the MLP) runs
 * on their rows side by side; rotation and attention run where their positions follow one another, so that a row has its
 * position and sees the tokens before it that have reached the layer. The first layer sees the whole prompt, the others
 * cost what the policy lets through.
 *
 * @module
 */

import { checkPruned } from "../../cache/plan_check.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { copyCommand } from "../session/commands.ts";
import type { ForwardState, MapTarget } from "../../models/forward/forward.ts";
import {
  argmaxStep,
  attentionStep,
  embeddingStep,
  logitsStep,
  outputStep,
  projectionStep,
} from "../../models/forward/transformer.ts";
import { checkTokens, readLogits } from "../session/step_io.ts";
import { type MapBlock, MapReader } from "../session/maps.ts";
import type { PromptEvents, PromptSequence } from "./prompt.ts";
import { addRows } from "./prompt_parts.ts";
import type { Session } from "../session/session.ts";
import { writeVisibleLayer } from "../session/taps.ts";

/** Adjacent positions. */
interface Span {
  readonly first: number;
  readonly rows: number;
}

/** Most dropped tokens in a row that attention computes for nothing, rather than in one more dispatch. */
const GAP = 4;

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
  readonly #tokens: number;
  readonly #owned: DisposableStack;
  readonly #maps: MapReader;
  /** Every position, to be copied to where a step's first one is read. */
  readonly #positions: DeviceBuffer;
  /** What the last layer has left of the tokens that reached it, side by side. */
  readonly #hidden: DeviceBuffer;
  /** Row of each position in `#hidden`, if it has reached the last layer. */
  readonly #places: Uint32Array;
  /** Queries, keys and values, each in the row of its position. */
  readonly #projected: DeviceBuffer;
  /** What attention leaves, each in the row of its position. */
  readonly #attended: DeviceBuffer;

  constructor(forward: ForwardState, tokens: number, sequence: number) {
    const { device, workspace: { state, strides } } = forward;
    this.#forward = forward;
    this.#sequence = sequence;
    this.#tokens = tokens;
    this.#places = Uint32Array.from({ length: tokens }, (_, position) => position);
    using stack = new DisposableStack();
    const rows = (label: string, stride: number) =>
      stack.use(device.createBuffer(`${label} of a prompt`, 4 * tokens * stride));
    this.#positions = rows("positions", 1);
    this.#hidden = rows("hidden states", strides.hidden);
    this.#projected = rows("queries, keys and values", strides.queryKeyValue);
    this.#attended = rows("attention output", strides.heads);
    this.#maps = stack.use(new MapReader(device));
    device.write(this.#positions, 0, this.#places.slice());
    device.write(state, 0, Uint32Array.of(sequence));
    this.#owned = stack.move();
  }

  /** Runs a layer over the tokens that have reached it. */
  async layer(layer: number, { reached, firstObserved, onMap }: LayerRequest): Promise<void> {
    const { device, config: { queryHeads }, workspace: { shape } } = this.#forward;
    const heads = Array.from({ length: queryHeads }, (_, head) => head);
    const hasReached = new Set(reached);
    // Rows that are read exist for scores even where their tokens have been dropped.
    const attending = [...reached.filter((position) => position < firstObserved)];
    for (let row = firstObserved; row < this.#tokens; row++) attending.push(row);
    let commands = this.#project(layer, reached);
    for (const span of spansOf(attending, shape.rows)) {
      const end = span.first + span.rows;
      const size = { rows: span.rows, keys: end };
      const maps = end > firstObserved ? this.#maps.target(heads, size) : undefined;
      commands.push(...this.#attend(layer, span, maps));
      if (!maps) continue;
      await this.#run(`layer ${layer}`, commands);
      commands = [];
      const rows = { layer, firstQuery: span.first, queries: span.rows };
      for (const block of await this.#maps.read(maps, rows)) {
        for (let row = 0; row < span.rows; row++) {
          if (hasReached.has(span.first + row)) continue;
          block.values.fill(0, row * block.keys, (row + 1) * block.keys);
        }
        onMap(block, firstObserved);
      }
    }
    await this.#run(`layer ${layer}`, [...commands, ...this.#output(layer, reached)]);
    await device.finished();
  }

  /** Computes the last row's logits and chooses the next token. */
  async choose(): Promise<void> {
    const { workspace: { hidden, strides } } = this.#forward;
    const last = this.#tokens - 1;
    const rowBytes = 4 * strides.hidden;
    await this.#run("choice of the next token", [
      this.#startAt(last),
      copyCommand(this.#hidden, hidden, rowBytes, { from: rowBytes * this.#places[last]! }),
      ...logitsStep(this.#forward, { rows: 1, rowStep: 1, rowOffset: 0 }),
      ...argmaxStep(this.#forward, { sequences: 1, rowsPerSequence: 1 }),
    ]);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Moves the hidden states of a layer's tokens together, and projects them. */
  #project(layer: number, reached: Uint32Array): Command[] {
    const { workspace: { hidden, queryKeyValue, strides } } = this.#forward;
    const before = reached.map((position) => this.#places[position]!);
    reached.forEach((position, place) => this.#places[position] = place);
    return this.#blocks(reached).flatMap(({ first, rows }) => {
      const positions = reached.subarray(first, first + rows);
      const byteLength = 4 * rows * strides.hidden;
      const input = layer === 0
        ? [
          this.#startAt(first),
          ...embeddingStep(this.#forward, { sequences: 1, rowsPerSequence: rows }),
        ]
        : gather(this.#hidden, hidden, before.subarray(first, first + rows), strides.hidden);
      return [
        ...input,
        // Rows that later blocks read come after those that are written here.
        copyCommand(hidden, this.#hidden, byteLength, { to: 4 * first * strides.hidden }),
        ...projectionStep(this.#forward, layer, rows),
        ...scatter(queryKeyValue, this.#projected, positions, strides.queryKeyValue),
      ];
    });
  }

  /** Lets adjacent positions attend; rows of dropped tokens hold anything, and nobody sees them. */
  #attend(layer: number, { first, rows }: Span, maps: MapTarget | undefined): Command[] {
    const { workspace: { queryKeyValue, heads, strides } } = this.#forward;
    const projected = { from: 4 * first * strides.queryKeyValue };
    const attended = { to: 4 * first * strides.heads };
    return [
      this.#startAt(first),
      copyCommand(
        this.#projected,
        queryKeyValue,
        4 * rows * strides.queryKeyValue,
        projected,
      ),
      ...attentionStep(this.#forward, { sequences: 1, rowsPerSequence: rows }, {
        layer,
        isSummed: false,
        ...(maps && { maps }),
      }),
      copyCommand(heads, this.#attended, 4 * rows * strides.heads, attended),
    ];
  }

  /** Adds what a layer computes to the hidden states of its tokens. */
  #output(layer: number, reached: Uint32Array): Command[] {
    const { workspace: { hidden, heads, strides } } = this.#forward;
    return this.#blocks(reached).flatMap(({ first, rows }) => {
      const offset = 4 * first * strides.hidden;
      const byteLength = 4 * rows * strides.hidden;
      return [
        copyCommand(this.#hidden, hidden, byteLength, { from: offset }),
        ...gather(this.#attended, heads, reached.subarray(first, first + rows), strides.heads),
        ...outputStep(this.#forward, layer, rows),
        copyCommand(hidden, this.#hidden, byteLength, { to: offset }),
      ];
    });
  }

  /** Cuts rows that lie side by side into as many as the workspace has room for. */
  #blocks({ length }: Uint32Array): Span[] {
    const { rows } = this.#forward.workspace.shape;
    return Array.from({ length: Math.ceil(length / rows) }, (_, block) => ({
      first: block * rows,
      rows: Math.min(rows, length - block * rows),
    }));
  }

  /** Sets the position of a step's first row. */
  #startAt(position: number): Command {
    const { state } = this.#forward.workspace;
    const to = 4 * (1 + this.#sequence);
    return copyCommand(this.#positions, state, 4, { from: 4 * position, to });
  }

  async #run(label: string, commands: readonly Command[]): Promise<void> {
    const { device } = this.#forward;
    using recording = await device.record(label, commands);
    device.submit(recording);
  }
}

/** Copies the rows of a buffer at ascending indices to the first rows of another. */
function gather(
  source: DeviceBuffer,
  target: DeviceBuffer,
  indices: Uint32Array,
  stride: number,
): Command[] {
  return runsOf(indices).map(({ first, rows, place }) =>
    copyCommand(source, target, 4 * rows * stride, {
      from: 4 * first * stride,
      to: 4 * place * stride,
    })
  );
}

/** Copies the first rows of a buffer to ascending indices of another. */
function scatter(
  source: DeviceBuffer,
  target: DeviceBuffer,
  indices: Uint32Array,
  stride: number,
): Command[] {
  return runsOf(indices).map(({ first, rows, place }) =>
    copyCommand(source, target, 4 * rows * stride, {
      from: 4 * place * stride,
      to: 4 * first * stride,
    })
  );
}

/** Joins ascending indices that follow one another; `place` counts the indices before. */
function runsOf(indices: Uint32Array): (Span & { readonly place: number })[] {
  const spans = spansOf([...indices], indices.length, 0);
  let place = 0;
  return spans.map((span) => {
    place += span.rows;
    return { ...span, place: place - span.rows };
  });
}

/** Covers ascending positions by spans of at most `most` rows, without a gap of more than `gap` positions in any of them. */
function spansOf(positions: readonly number[], most: number, gap = GAP): Span[] {
  const spans: { first: number; rows: number }[] = [];
  for (const position of positions) {
    const span = spans.at(-1);
    const rows = span ? position + 1 - span.first : 0;
    if (span && rows <= most && rows - span.rows - 1 <= gap) span.rows = rows;
    else spans.push({ first: position, rows: 1 });
  }
  return spans;
}
