/**
 * Further turns under policies that drop for good, several tokens at once: the rows of a block share the kept tokens and
 * attend to the block causally; then tokens are dropped, once.
 *
 * @see docs/method.md, "Further turns" and "Drafts"
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import type { DeviceBuffer, Recording } from "../../gpu/device.ts";
import { argmaxStep, logitsStep } from "../../models/forward/transformer.ts";
import { layersStep } from "../session/commands.ts";
import type { PromptEvents } from "./prompt.ts";
import { readLogits } from "../session/step_io.ts";
import type { Session } from "../session/session.ts";
import { readVectors } from "../session/vectors.ts";
import { residentLists } from "../selection/lists.ts";
import type { PolicySequence } from "./sequence.ts";
import type { PolicyStep } from "../selection/buffers.ts";
import type { PolicyStore } from "./store.ts";
import { selectedStep, type SharedRows } from "../selection/selected_attention.ts";

/** What blocks run on. */
interface TurnBlockParts extends Omit<PolicyStep, "forward"> {
  /** The large model, of one sequence. */
  readonly large: Session;
  /** Where its tokens are kept: all on the device. */
  readonly store: PolicyStore;
  /** The sequence, whose policy uses no small model. */
  readonly sequence: PolicySequence;
}

/** Number of elements that offsets into a buffer must be a multiple of, on every device. */
const ALIGNMENT = 64;

/** Runs turns in blocks. Disposing it frees recordings and buffers. */
export class TurnBlocks implements Disposable {
  readonly #parts: TurnBlockParts;
  readonly #rows: number;
  readonly #shared: Omit<SharedRows, "rows">;
  readonly #owned: DisposableStack;
  readonly #recordings = new Map<string, Recording>();

  /**
   * Allocates buffers for the attention of at most `rows` rows.
   *
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(parts: TurnBlockParts, rows: number) {
    const { large: { forward: { device } }, shape: { attentionHeads, capacity, groups } } = parts;
    const attentionStride = aligned(capacity);
    const attentionWords = Math.max(ALIGNMENT, attentionHeads * attentionStride);
    const largeAttentionWords = attentionHeads > 0 ? aligned(groups.total * capacity) : ALIGNMENT;
    using stack = new DisposableStack();
    const buffer = (label: string, words: number): DeviceBuffer =>
      stack.use(device.createBuffer(`${label} of a turn's block`, 4 * words * rows));
    this.#parts = parts;
    this.#rows = rows;
    this.#shared = {
      attention: buffer("softmax over kept tokens", attentionWords),
      largeAttention: buffer("the large model's attention", largeAttentionWords),
      attentionStride,
      attentionWords,
      largeAttentionWords,
    };
    this.#owned = stack.move();
  }

  /** Runs a turn; if it throws, the blocks that were run remain. */
  async run(tokens: readonly number[], options: PromptEvents): Promise<void> {
    const { large, sequence } = this.#parts;
    const { signal, onLogits, onProgress } = options;
    for (let done = 0; done < tokens.length;) {
      signal?.throwIfAborted();
      const most = Math.min(this.#rows, tokens.length - done);
      const rows = sequence.rowsUntilPlan(large.lengths[0]!, most);
      const isLast = done + rows === tokens.length;
      await this.#block(tokens.slice(done, done + rows), isLast);
      done += rows;
      if (isLast && onLogits) onLogits(await readLogits(large.forward, 1), [0]);
      onProgress?.(done, tokens.length);
    }
  }

  /** Frees recordings and buffers. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Runs a block; the sequence changes only once all of it has succeeded. */
  async #block(tokens: readonly number[], isLast: boolean): Promise<void> {
    const { large, store, sequence, shape, buffers, rest } = this.#parts;
    const { device, workspace, cache } = large.forward;
    const rows = tokens.length;
    const length = large.lengths[0]!;
    const seen = withNewest(sequence.selections, length, rows);
    const { match, policy } = sequence;
    device.write(
      buffers.lists,
      0,
      residentLists(shape, seen, { cache: cache.shape, match, policy }),
    );
    device.write(workspace.tokens, 4 * length, Uint32Array.from(tokens));
    device.write(workspace.state, 0, Uint32Array.of(0, length));
    rest?.prepare([length + rows], [sequence.restMasses]);
    device.submit(await this.#recording(rows, isLast));
    const largeAttention = await this.#readLargeAttention(rows);
    const range = { sequence: 0, from: length, to: length + rows };
    const vectors = sequence.largeScores?.readsVectors
      ? await readVectors(store.forward, range)
      : undefined;
    large.advance(rows);
    sequence.takeBlock(rows, { largeAttention, ...(vectors && { vectors }) }, large.lengths[0]!);
    store.account([sequence.selections]);
  }

  /** Attention of each row, [list groups, capacity]; empty if no policy reads it. */
  async #readLargeAttention(rows: number): Promise<Float32Array[]> {
    const { large: { forward: { device } }, shape: { attentionHeads, groups, capacity } } =
      this.#parts;
    if (attentionHeads === 0) {
      await device.finished();
      return [];
    }
    const { largeAttention, largeAttentionWords } = this.#shared;
    const all = new Float32Array(
      await device.read(largeAttention, 0, 4 * largeAttentionWords * rows),
    );
    const size = groups.total * capacity;
    return Array.from(
      { length: rows },
      (_, row) => all.subarray(row * largeAttentionWords, row * largeAttentionWords + size),
    );
  }

  /** The large model on a block; after the last one, the choice of the next token too. */
  async #recording(rows: number, isLast: boolean): Promise<Recording> {
    const key = `${rows} rows${isLast ? ", the last ones" : ""}`;
    const known = this.#recordings.get(key);
    if (known) return known;
    const { store: { forward }, ...step } = this.#parts;
    const rowShape = { sequences: 1, rowsPerSequence: rows };
    const shared = { ...this.#shared, rows };
    const attention = (layer: number) => ({
      attention: selectedStep({ ...step, forward }, layer, shared),
    });
    const recording = this.#owned.use(
      await forward.device.record(`turn's block of ${key}`, [
        ...layersStep(forward, rowShape, attention),
        ...isLast ? logitsStep(forward, { rows: 1, rowStep: 1, rowOffset: rows - 1 }) : [],
        ...isLast ? argmaxStep(forward, rowShape) : [],
      ]),
    );
    this.#recordings.set(key, recording);
    return recording;
  }
}

/** Adds a number of newer tokens to selections. */
function withNewest(selections: readonly Selection[], length: number, rows: number): Selection[] {
  return selections.map(({ full, valueOnly }) => {
    const longer = new Uint32Array(full.length + rows);
    longer.set(full);
    for (let row = 0; row < rows; row++) longer[full.length + row] = length + row;
    return { full: longer, valueOnly };
  });
}

function aligned(words: number): number {
  return ALIGNMENT * Math.ceil(words / ALIGNMENT);
}
