/**
 * Batches of training text for the embedded pair: token ids with loss weights, as bytes that the
 * training script reads.
 *
 * A batch depends on the seed of its phase and its step alone, so that training can resume
 * anywhere.
 *
 * @module
 */

import { checkInteger, DataError } from "../../core/check.ts";
import { derivedSeed, randomInteger, seededRandom } from "../../core/random.ts";
import {
  DOCUMENT_TOKEN,
  MICROWORLD_TASKS,
  type MicroworldItem,
  microworldSplit,
  type MicroworldTask,
  trainingItems,
} from "../../data/microworld.ts";

/** The text of a training phase. */
export interface PhaseText {
  /** Seed of the phase. */
  readonly seed: number;
  /** Number of steps, one batch each. */
  readonly steps: number;
  /** Aims of an item's length in tokens: share of the phase from which they hold, shortest, longest. */
  readonly lengths: readonly (readonly [from: number, shortest: number, longest: number])[];
  /** Relative share of each task. */
  readonly mix: Readonly<Partial<Record<MicroworldTask, number>>>;
  /** Tokens of a batch, at least about. */
  readonly batchTokens: number;
}

/** Fewest items of a batch. */
const MIN_ITEMS = 8;

/** An item as tokens. */
export interface TrainingRow {
  /** Its task. */
  readonly task: MicroworldTask;
  /** Ids; the first and the last is the document token. */
  readonly ids: readonly number[];
  /** Weight of each id in the loss; 0 for the first. */
  readonly weights: readonly number[];
  /** Whether the model is to write the id. */
  readonly isAnswer: readonly boolean[];
}

/**
 * Draws the items of one step.
 *
 * @returns Items of the training split, all drawn for the same length.
 * @throws {RangeError} If the phase has no such step.
 * @throws {DataError} If an item belongs to the evaluation split.
 */
export function batchItems(text: PhaseText, step: number): MicroworldItem[] {
  checkInteger("draw a batch", "step", { value: step, min: 0, max: text.steps - 1 });
  const random = seededRandom(derivedSeed(text.seed, `batch ${step}`));
  const stage = text.lengths.findLast(([from]) => step / text.steps >= from) ?? text.lengths[0]!;
  const length = stage[1] + randomInteger(random, stage[2] - stage[1] + 1);
  const count = Math.max(MIN_ITEMS, Math.floor(text.batchTokens / length));
  const series = trainingItems({
    seed: derivedSeed(text.seed, `items ${step}`),
    tokens: [length, length],
    mix: text.mix,
  });
  const items = Array.from({ length: count }, () => series.next().value);
  for (const item of items) {
    if (microworldSplit(item) === "training") continue;
    throw new DataError(
      `Cannot draw a batch: every item must be of the training split: current value is ${item.content}`,
    );
  }
  return items;
}

/**
 * Encodes an item.
 *
 * @param encode Encodes text without tokens around it.
 * @returns Its tokens, with loss weights.
 */
export function trainingRow(
  item: Pick<MicroworldItem, "task" | "segments">,
  encode: (text: string) => readonly number[],
): TrainingRow {
  const ids = [DOCUMENT_TOKEN];
  const weights = [0];
  const isAnswer = [false];
  const end = { ids: [DOCUMENT_TOKEN], weight: 1, isAnswer: item.segments.at(-1)!.isAnswer };
  const pieces = item.segments.map(({ text, ...rest }) => ({ ids: encode(text), ...rest }));
  for (const piece of [...pieces, end]) {
    for (const id of piece.ids) {
      ids.push(id);
      weights.push(piece.weight);
      isAnswer.push(piece.isAnswer);
    }
  }
  return { task: item.task, ids, weights, isAnswer };
}

/**
 * Lays a batch out as bytes, little endian, rows padded with zeros on the right.
 *
 * @returns Rows and columns (u32 each), then task numbers (u8 [rows]), ids (i16 [rows, columns]),
 * loss weights in hundredths (u8 [rows, columns]), and 1 for an answer (u8 [rows, columns]).
 */
export function batchBytes(rows: readonly TrainingRow[]): Uint8Array<ArrayBuffer> {
  const columns = Math.max(...rows.map(({ ids }) => ids.length));
  const count = rows.length * columns;
  const bytes = new Uint8Array(8 + rows.length + 4 * count);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, rows.length, true);
  view.setUint32(4, columns, true);
  rows.forEach((row, index) => {
    bytes[8 + index] = MICROWORLD_TASKS.indexOf(row.task);
    row.ids.forEach((id, column) => {
      const at = index * columns + column;
      const start = 8 + rows.length;
      view.setInt16(start + 2 * at, id, true);
      bytes[start + 2 * count + at] = Math.round(100 * row.weights[column]!);
      bytes[start + 3 * count + at] = row.isAnswer[column] ? 1 : 0;
    });
  });
  return bytes;
}

/**
 * Makes an encoder of micro-world text that remembers every word.
 *
 * @param encode Encodes text without tokens around it.
 * @returns The same encoder, faster.
 */
export function wordEncoder(
  encode: (text: string) => readonly number[],
): (text: string) => readonly number[] {
  const known = new Map<string, readonly number[]>();
  return (text) =>
    (text.match(/ ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+/g) ?? []).flatMap((word) => {
      const ids = known.get(word) ?? encode(word);
      known.set(word, ids);
      return ids;
    });
}
