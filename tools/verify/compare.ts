/**
 * Compares logits and attention of this engine with those of a reference.
 *
 * @module
 */

import { klDivergence, topOneAgreement } from "../../analysis/quality.ts";
import { DataError } from "../../core/check.ts";
import type { AttentionTrace } from "../../decoding/session/trace.ts";
import type { VerifiedFigures } from "../../models/verified.ts";
import type { TensorSource } from "../../models/weights/tensor_source.ts";

/** Difference of the best two logits above which the reference is sure of its choice. */
const CLEAR = 0.1;

/** Differences up to which a file counts as verified. */
export const TOLERANCE = {
  /** Mean divergence, in nats. */
  meanKl: 2e-3,
  /** Share of the clear choices that must be the same. */
  clearShare: 0.99,
  /** Difference of an element of a map. */
  attentionMap: 2e-3,
  /** Difference of a column sum, relative to the largest of its head. */
  columnSum: 2e-3,
} as const;

/** What is compared: a trace with all logits, all maps and column sums. */
export type ComparedTrace = Pick<AttentionTrace, "tokens" | "logits" | "maps" | "accumulated">;

/**
 * Compares a trace with a file of `reference.py`.
 *
 * @param reference Tensors `logits` [tokens, vocabulary] and `attention` [heads, tokens, tokens], in f32.
 * @param trace The same of this engine.
 * @throws {DataError} If the shapes differ.
 */
export async function compareTrace(
  reference: TensorSource,
  trace: ComparedTrace,
): Promise<VerifiedFigures> {
  const { tokens, maps } = trace;
  checkShape(reference, "logits", [tokens, trace.logits.length / tokens]);
  checkShape(reference, "attention", [maps.length, tokens, tokens]);
  return { ...await compareLogits(reference, trace), ...await compareMaps(reference, trace) };
}

/** Three digits, which is what a register needs. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Requirements that figures do not meet, in words; none for a file that is verified. */
export function faultsOf(figures: VerifiedFigures): string[] {
  const { clearTopOne: { same, of } } = figures;
  const faults = (["meanKl", "attentionMap", "columnSum"] as const)
    .filter((name) => !(figures[name] <= TOLERANCE[name]))
    .map((name) => `${name} must be at most ${TOLERANCE[name]}: current value is ${figures[name]}`);
  if (same >= TOLERANCE.clearShare * of) return faults;
  const share = `${100 * TOLERANCE.clearShare} % of ${of}`;
  return [...faults, `the same clear choices must be ${share}: current number is ${same}`];
}

function checkShape({ tensors }: TensorSource, name: string, shape: readonly number[]): void {
  const found = tensors.get(name)?.shape;
  if (String(found) === String(shape)) return;
  throw new DataError(
    `Cannot compare with transformers: its ${name} must have the shape [${shape}] of this engine's: current shape is [${found}]`,
  );
}

async function compareLogits(
  reference: TensorSource,
  { tokens, logits }: ComparedTrace,
): Promise<Omit<VerifiedFigures, "attentionMap" | "columnSum">> {
  const vocabulary = logits.length / tokens;
  const [clearTopOne, topOne] = [{ same: 0, of: 0 }, { same: 0, of: 0 }];
  let [sum, largestKl] = [0, 0];
  for (let token = 0; token < tokens; token++) {
    const theirs = floats(await reference.readRows("logits", token, 1));
    const ours = logits.subarray(token * vocabulary, (token + 1) * vocabulary);
    const kl = klDivergence(theirs, ours);
    sum += kl;
    largestKl = Math.max(largestKl, kl);
    const isSame = topOneAgreement(theirs, ours);
    for (const count of leadOf(theirs) > CLEAR ? [topOne, clearTopOne] : [topOne]) {
      count.of++;
      if (isSame) count.same++;
    }
  }
  return { meanKl: rounded(sum / tokens), largestKl: rounded(largestKl), clearTopOne, topOne };
}

/** How far the largest logit is above the next one. */
function leadOf(logits: Float32Array): number {
  let [first, second] = [-Infinity, -Infinity];
  for (const logit of logits) {
    if (logit > first) [first, second] = [logit, first];
    else if (logit > second) second = logit;
  }
  return first - second;
}

async function compareMaps(
  reference: TensorSource,
  { tokens, maps, accumulated }: ComparedTrace,
): Promise<Pick<VerifiedFigures, "attentionMap" | "columnSum">> {
  let [attentionMap, columnSum] = [0, 0];
  for (let head = 0; head < maps.length; head++) {
    const theirs = floats(await reference.readRows("attention", head * tokens, tokens));
    const sums = new Float64Array(tokens);
    theirs.forEach((value, at) => {
      attentionMap = larger(attentionMap, Math.abs(value - maps[head]!.values[at]!));
      sums[at % tokens]! += value;
    });
    const most = sums.reduce((one, other) => Math.max(one, other));
    sums.forEach((value, at) => {
      const difference = Math.abs(value - accumulated[head * tokens + at]!);
      columnSum = larger(columnSum, difference / most);
    });
  }
  return { attentionMap: rounded(attentionMap), columnSum: rounded(columnSum) };
}

/** The larger of two differences; what is not a number is infinitely large. */
function larger(one: number, other: number): number {
  return Number.isNaN(other) ? Infinity : Math.max(one, other);
}

function floats(bytes: Uint8Array<ArrayBuffer>): Float32Array {
  return new Float32Array(bytes.buffer);
}
