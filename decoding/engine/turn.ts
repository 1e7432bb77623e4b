/**
 * Further turns of a conversation: several tokens at once behind those of a complete cache.
 *
 * @see docs/method.md, "Further turns"
 * @module
 */

import { readVectors } from "../session/vectors.ts";
import { readsRows } from "../../cache/scores/score.ts";
import { decayOf, isDeviceScore, type LaneSet } from "../selection/sequence_settings.ts";
import type { PolicySession } from "./policy_session.ts";
import type { PolicyShape } from "../selection/buffers.ts";
import type { PromptEvents } from "./prompt.ts";
import type { EngineParts } from "./parts.ts";

/** Rows of one prefill step of the small model. */
const CHUNK = 128;

/**
 * Tells whether a sequence's further turns are exact: nothing of either model's cache has been dropped for good, and the
 * host's scores do not wait for each step's row.
 *
 * @param lanes The sequences.
 * @param index Which one.
 * @returns Whether they are; otherwise a turn can only see what is kept.
 */
export function hasWholeTurns({ lanes }: Pick<LaneSet, "lanes">, index: number): boolean {
  const { policy, helperBudget } = lanes[index]!;
  if (policy.candidates === "kept" || helperBudget !== undefined) return false;
  return !policy.score || isDeviceScore(policy) || !readsRows(policy.score);
}

/**
 * Runs a turn exactly with both models; afterwards all tokens are kept, as behind a prompt.
 *
 * @param parts Models and what belongs to the sequences.
 * @param tokens Token ids of the turn.
 * @param options Sequences that get it; progress, signal, receiver of logits. If it throws, they are as they were.
 */
export async function runTurn(
  parts: EngineParts,
  tokens: readonly number[],
  options: PromptEvents & { readonly indices: readonly number[] },
): Promise<void> {
  const { large, helper, sequences, lanes } = parts;
  const { indices } = options;
  const streams = [...new Set(indices.map((index) => lanes.streams[index]))]
    .filter((stream) => stream !== undefined);
  const before = {
    large: indices.map((index) => large.lengths[index]!),
    small: streams.map((stream) => helper!.session.lengths[stream]!),
  };
  try {
    await runLarge(parts, tokens, { ...options, steps: indices.length + streams.length });
    for (const stream of streams) {
      const readers = indices.filter((index) => lanes.streams[index] === stream);
      await runHelper(parts, tokens, { ...options, stream, readers });
    }
  } catch (error) {
    indices.forEach((index, k) => large.rewind(before.large[k]!, index));
    streams.forEach((stream, k) => helper!.session.rewind(before.small[k]!, stream));
    throw error;
  }
  for (const index of indices) {
    const { own } = sequences.all[index]!;
    const to = large.lengths[index]!;
    if (own?.readsVectors) {
      const range = { sequence: index, from: own.knownTokens, to };
      own.addVectors(await readVectors(large.forward, range));
    }
    sequences.all[index]!.keepAll(to);
  }
}

/**
 * Runs a turn token by token, each seeing what is kept then.
 *
 * @param session Session of one sequence.
 * @param tokens Token ids of the turn.
 * @param options Progress, signal, receiver of logits. If it throws, the tokens that were run remain.
 */
export async function stepThrough(
  session: Pick<PolicySession, "step">,
  tokens: readonly number[],
  { signal, onLogits, onProgress }: PromptEvents,
): Promise<void> {
  for (const [done, token] of tokens.entries()) {
    signal?.throwIfAborted();
    const isLast = done === tokens.length - 1;
    const wants = { logits: isLast && onLogits !== undefined, hasSelections: false };
    const { logits } = await session.step({ tokens: [token], ...wants });
    if (logits) onLogits?.(logits, [0]);
    onProgress?.(done + 1, tokens.length);
  }
}

/**
 * Takes back what sequences have of a prompt that was not run to its end.
 *
 * @param parts Both models and the sequences.
 * @param indices Which ones.
 */
export function forgetPrompt(
  { large, helper, lanes }: Pick<EngineParts, "large" | "helper" | "lanes">,
  indices: readonly number[],
): void {
  for (const index of indices) {
    large.rewind(0, index);
    const stream = lanes.streams[index];
    if (stream !== undefined) helper!.session.rewind(0, stream);
  }
  // Sums of prompts that were run to their end have been read.
  for (const session of [large, helper?.session]) {
    if (session?.forward.taps.sums) session.clearAccumulated();
  }
}

/** Each sequence has states of its own, even where the tokens are the same. */
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

/** Extends what the helper remembers by the rows of the turn; before heads are matched it only reads along. */
async function runHelper(
  { helper, sequences, shape, buffers }: EngineParts,
  tokens: readonly number[],
  options: PromptEvents & { readonly stream: number; readonly readers: readonly number[] },
): Promise<void> {
  const { stream, signal } = options;
  const { session } = helper!;
  const { device } = session.forward;
  const start = session.lengths[stream]!;
  const readers = options.readers.filter((index) => {
    const { isReady, policy } = sequences.all[index]!;
    return isReady && isDeviceScore(policy);
  });
  const quiet = { sequence: stream, logits: "none", ...(signal && { signal }) } as const;
  if (readers.length === 0) return await session.prefill(tokens, { ...quiet, isSummed: false });
  const bytes = 4 * shape.helperHeads * shape.capacity;
  const memories = readers.map((index) => ({
    index,
    decay: decayOf(sequences.all[index]!.policy),
  }));
  for (const decay of new Set(memories.map((memory) => memory.decay))) {
    const own = memories.filter((memory) => memory.decay === decay);
    const known = await Promise.all(
      own.map(({ index }) => device.read(buffers.scores, bytes * index, bytes)),
    );
    const scores = known.map((words) => new Float32Array(words));
    session.rewind(start, stream);
    for (let done = 0; done < tokens.length; done += CHUNK) {
      const piece = tokens.slice(done, done + CHUNK);
      session.clearAccumulated();
      await session.prefill(piece, { ...quiet, rowDecay: decay });
      const rows = await session.accumulated(stream);
      for (const own of scores) addRows(own, rows, { ...shape, factor: decay ** piece.length });
    }
    own.forEach(({ index }, k) => device.write(buffers.scores, bytes * index, scores[k]!));
  }
}

/** Adds sums of rows, [heads, tokens], to scores that fade by a factor, [heads, capacity]. */
function addRows(
  scores: Float32Array,
  rows: Float32Array,
  sizes: Pick<PolicyShape, "helperHeads" | "capacity"> & { readonly factor: number },
): void {
  const { helperHeads, capacity, factor } = sizes;
  const tokens = rows.length / helperHeads;
  for (let head = 0; head < helperHeads; head++) {
    for (let token = 0; token < tokens; token++) {
      const place = head * capacity + token;
      scores[place] = factor * scores[place]! + rows[head * tokens + token]!;
    }
  }
}
