/**
 * Sequences that move between sessions: prompts that were run elsewhere, and sequences between two of their steps.
 *
 * @module
 */

import { rankedHeads } from "../selection/buffers.ts";
import { isDeviceScore } from "../selection/sequence_settings.ts";
import type { SavedSequence } from "../session/saved_sequence.ts";
import type { EngineParts } from "./parts.ts";
import type { SmallModelState } from "./prompt.ts";
import type { PolicySequence } from "./sequence.ts";

/** A prompt that one sequence can begin with. */
export interface PromptSnapshot {
  /** Keys and values of the large model. */
  readonly large: SavedSequence;
  /** Keys and values of the small model, if the policy uses one. */
  readonly small?: SavedSequence;
  /** State of the sequence, which nothing else may use. */
  readonly sequence: PolicySequence;
  /** What the small model knows; absent without one, or if the prompt is too short for matching. */
  readonly state?: SmallModelState;
}

/** A sequence between two steps. Disposing it frees its keys and values. */
export interface SequenceSnapshot extends Disposable {
  /** Keys and values of the large model. */
  readonly large: SavedSequence;
  /** Keys and values of the small model, if the policy uses one. */
  readonly small?: SavedSequence;
  /** State of the sequence, which the session that it is taken from must not run any more. */
  readonly sequence: PolicySequence;
  /** What the rows that rank tokens have left, [rankedHeads, capacity], where the device keeps it. */
  readonly scores?: Float32Array<ArrayBuffer>;
  /** What a compressed small model keeps. */
  readonly smallCache?: object;
}

/** Begins a sequence with a prompt, as if it had been run there, in place of what the sequence holds. */
export async function beginFrom(
  parts: EngineParts,
  index: number,
  { large, small, sequence, state }: PromptSnapshot,
): Promise<void> {
  const { sequences, smallModel, batch } = parts;
  await parts.large.restore(large, index);
  const smallSequence = batch.smallSequences[index];
  if (smallSequence !== undefined && batch.firstReaders[smallSequence] === index) {
    await smallModel!.restore(small!, smallSequence, large);
    smallModel!.begin(smallSequence, large.length);
  }
  sequences.put(index, sequence, undefined);
  await sequences.startFrom([{ index, smallSequence, sequence }], large.length, state);
}

/** Copies a sequence out. */
export async function takeSequence(
  { large, smallModel, sequences, batch, shape, buffers }: EngineParts,
  index: number,
): Promise<SequenceSnapshot> {
  const sequence = sequences.all[index]!;
  const smallSequence = batch.smallSequences[index];
  const bytes = 4 * rankedHeads(shape) * shape.capacity;
  using stack = new DisposableStack();
  const saved = stack.use(await large.save(index));
  const small = smallSequence === undefined
    ? undefined
    : stack.use(await smallModel!.session.save(smallSequence));
  const scores = isDeviceScore(sequence.policy)
    ? new Float32Array(await large.forward.device.read(buffers.scores, bytes * index, bytes))
    : undefined;
  const smallCache = smallSequence === undefined ? undefined : smallModel!.take(smallSequence);
  const owned = stack.move();
  return {
    large: saved,
    ...(small && { small }),
    sequence,
    ...(scores && { scores }),
    ...(smallCache && { smallCache }),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** Continues a sequence of another session with the same capacity, in place of what the sequence holds. */
export async function resumeSequence(
  { large, smallModel, sequences, batch }: EngineParts,
  index: number,
  snapshot: SequenceSnapshot,
): Promise<void> {
  await large.restore(snapshot.large, index);
  const smallSequence = batch.smallSequences[index];
  if (smallSequence !== undefined) {
    await smallModel!.restore(snapshot.small!, smallSequence, snapshot.large);
    smallModel!.put(smallSequence, snapshot.smallCache);
  }
  sequences.put(index, snapshot.sequence, snapshot.scores);
}
