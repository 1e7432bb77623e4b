/**
 * Further turns of a conversation: several tokens at once after those of a complete cache.
 *
 * @see docs/method.md, "Further turns"
 * @module
 */

import { mapSums } from "../../analysis/fitted_map.ts";
import type { SequenceMark } from "../session/sequence_mark.ts";
import type { SmallSession } from "../scoring/own_tokens.ts";
import { readVectors } from "../session/vectors.ts";
import { readsRows } from "../../cache/scores/score.ts";
import { decayOf, isDeviceScore, type SequenceSettings } from "../selection/sequence_settings.ts";
import { rankedHeads } from "../selection/buffers.ts";
import type { PromptEvents } from "./prompt.ts";
import type { EngineParts } from "./parts.ts";
import type { StepOptions, StepReport } from "./types.ts";

/** Rows of one prefill step of the small model. */
const CHUNK = 128;

/**
 * Tells whether a sequence's further turns are exact: nothing of either model's cache has been dropped for good, and no
 * score on the host needs each step's row. Otherwise a turn only sees what is kept.
 */
export function hasWholeTurns(
  { settings }: Pick<SequenceSettings, "settings">,
  index: number,
): boolean {
  const { policy, smallBudget } = settings[index]!;
  if (policy.candidates === "kept" || smallBudget !== undefined) return false;
  return !policy.score || isDeviceScore(policy) || !readsRows(policy.score);
}

/**
 * Runs a turn exactly with both models; afterwards all tokens are kept, as after a prompt.
 *
 * @param parts Models and the state of the sequences.
 * @param tokens Token ids of the turn.
 * @param options Sequences that it is added to, which stay unchanged if this throws; progress, signal, receiver of logits.
 */
export async function runTurn(
  parts: EngineParts,
  tokens: readonly number[],
  options: PromptEvents & { readonly indices: readonly number[] },
): Promise<void> {
  const { large, smallModel, sequences, batch, buffers: { scores } } = parts;
  const { indices } = options;
  const smallSequences = [...new Set(indices.map((index) => batch.smallSequences[index]))]
    .filter((smallSequence) => smallSequence !== undefined);
  using stack = new DisposableStack();
  const mark = async (session: SmallSession, sequence: number) =>
    stack.use(await session.mark(sequence, tokens.length));
  // One after the other: where one fails, all before it are known and freed.
  const marks: SequenceMark[] = [];
  for (const index of indices) marks.push(await mark(large, index));
  const smallMarks: SequenceMark[] = [];
  for (const sequence of smallSequences) smallMarks.push(await mark(smallModel!.session, sequence));
  const written: SmallScores[] = [];
  const vectors: (Float32Array | undefined)[] = [];
  try {
    await runLarge(parts, tokens, { ...options, steps: indices.length + smallSequences.length });
    for (const [place, smallSequence] of smallSequences.entries()) {
      const readers = indices.filter((index) => batch.smallSequences[index] === smallSequence);
      const turn = { ...options, smallSequence, readers, start: smallMarks[place]! };
      written.push(...await runSmallModel(parts, tokens, turn));
    }
    for (const index of indices) vectors.push(await newVectors(parts, index));
  } catch (error) {
    for (const one of [...marks, ...smallMarks]) one.undo();
    throw error;
  }
  const { device } = large.forward;
  for (const { index, values } of written) device.write(scores, values.byteLength * index, values);
  for (const [place, index] of indices.entries()) {
    const sequence = sequences.all[index]!;
    if (vectors[place]) sequence.largeScores!.addVectors(vectors[place]);
    sequence.reset(large.lengths[index]!);
  }
}

/** Keys and values that a sequence's scores have not read yet, if they read any. */
async function newVectors(
  { large, sequences }: EngineParts,
  sequence: number,
): Promise<Float32Array | undefined> {
  const { largeScores } = sequences.all[sequence]!;
  if (!largeScores?.readsVectors) return undefined;
  const range = { sequence, from: largeScores.knownTokens, to: large.lengths[sequence]! };
  return await readVectors(large.forward, range);
}

/**
 * Runs a turn token by token, each seeing what is kept at that point; if it throws, the tokens that were run remain.
 */
export async function stepThrough(
  run: (options: StepOptions) => Promise<StepReport>,
  tokens: readonly number[],
  { signal, onLogits, onProgress }: PromptEvents,
): Promise<void> {
  for (const [done, token] of tokens.entries()) {
    signal?.throwIfAborted();
    const isLast = done === tokens.length - 1;
    const wants = { logits: isLast && onLogits !== undefined, hasSelections: false };
    const { logits } = await run({ tokens: [token], ...wants });
    if (logits) onLogits?.(logits, [0]);
    onProgress?.(done + 1, tokens.length);
  }
}

/** Removes the part of a prompt that sequences have, after it was not run to its end. */
export function forgetPrompt(
  { large, smallModel, batch }: Pick<EngineParts, "large" | "smallModel" | "batch">,
  indices: readonly number[],
): void {
  for (const index of indices) {
    large.rewind(0, index);
    const smallSequence = batch.smallSequences[index];
    if (smallSequence !== undefined) smallModel!.session.rewind(0, smallSequence);
  }
  // The sums of completed prompts have already been read.
  for (const session of [large, smallModel?.session]) {
    if (session?.forward.taps.sums) session.clearAccumulated();
  }
}

/** Runs the turn for each sequence, since hidden states differ even where the tokens are the same. */
async function runLarge(
  { large }: EngineParts,
  tokens: readonly number[],
  options: PromptEvents & { readonly indices: readonly number[]; readonly steps: number },
): Promise<void> {
  const { indices, steps, signal, onLogits, onProgress } = options;
  for (const [place, sequence] of indices.entries()) {
    await large.prefill(tokens, {
      sequence,
      isSummed: false,
      ...(signal && { signal }),
      ...(onLogits && { onLogits: (row) => onLogits(row, [sequence]) }),
      onProgress: (done) => onProgress?.(place * tokens.length + done, steps * tokens.length),
    });
  }
}

/** Scores by the rows that rank tokens of one sequence, [rankedHeads, capacity]. */
interface SmallScores {
  readonly index: number;
  readonly values: Float32Array<ArrayBuffer>;
}

/** Adds the rows of the turn to the small model's scores, which it returns; before heads are matched there are none. */
async function runSmallModel(
  { smallModel, sequences, shape, buffers }: EngineParts,
  tokens: readonly number[],
  options: PromptEvents & {
    readonly smallSequence: number;
    readonly readers: readonly number[];
    readonly start: SequenceMark;
  },
): Promise<SmallScores[]> {
  const { smallSequence, start, signal } = options;
  const { session } = smallModel!;
  const { device } = session.forward;
  const readers = options.readers.filter((index) => {
    const { isReady, policy } = sequences.all[index]!;
    return isReady && isDeviceScore(policy);
  });
  const quiet = { sequence: smallSequence, logits: "none", ...(signal && { signal }) } as const;
  if (readers.length === 0) await session.prefill(tokens, { ...quiet, isSummed: false });
  const bytes = 4 * rankedHeads(shape) * shape.capacity;
  const decays = Map.groupBy(readers, (index) => decayOf(sequences.all[index]!.policy));
  const all: SmallScores[] = [];
  for (const [decay, indices] of decays) {
    const scores = await Promise.all(indices.map(async (index) => ({
      index,
      values: new Float32Array(await device.read(buffers.scores, bytes * index, bytes)),
    })));
    start.undo();
    for (let done = 0; done < tokens.length; done += CHUNK) {
      const piece = tokens.slice(done, done + CHUNK);
      session.clearAccumulated();
      await session.prefill(piece, { ...quiet, rowDecay: decay });
      const rows = await session.accumulated(smallSequence);
      const factor = decay ** piece.length;
      for (const { index, values } of scores) {
        const { map } = sequences.all[index]!;
        const ranked = map ? mapSums(map, rows, shape.smallHeads) : rows;
        addRows(values, ranked, { heads: rankedHeads(shape), capacity: shape.capacity, factor });
      }
    }
    all.push(...scores);
  }
  return all;
}

/** Adds sums of rows, [heads, tokens], to scores that fade by a factor, [heads, capacity]. */
function addRows(
  scores: Float32Array,
  rows: Float32Array,
  sizes: { readonly heads: number; readonly capacity: number; readonly factor: number },
): void {
  const { heads, capacity, factor } = sizes;
  const tokens = rows.length / heads;
  for (let head = 0; head < heads; head++) {
    for (let token = 0; token < tokens; token++) {
      const place = head * capacity + token;
      scores[place] = factor * scores[place]! + rows[head * tokens + token]!;
    }
  }
}
