/**
 * Compares logits with next-token distributions that were stored up to most of their mass.
 *
 * @module
 */

import type { Golden } from "./golden.ts";

/** How our next-token distributions differ from the stored ones. */
export interface Agreement {
  /** Divergence of ours from the reference at each position, in nats. */
  readonly divergences: number[];
  /** Positions where the reference is sure enough to compare. */
  compared: number;
  /** Those of them with the same most probable token. */
  same: number;
}

/** Compares one row of logits with a stored distribution; what is not stored is one bucket. */
function compareRow(
  logits: Float32Array,
  ids: Int32Array,
  logProbabilities: Float32Array,
  agreement: Agreement,
): void {
  const most = logits.reduce((left, right) => Math.max(left, right));
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
  let restOurs = 1;
  let restTheirs = 1;
  let divergence = 0;
  ids.forEach((id, rank) => {
    const ours = logits[id]! - most - Math.log(total);
    const theirs = logProbabilities[rank]!;
    divergence += Math.exp(theirs) * (theirs - ours);
    restOurs -= Math.exp(ours);
    restTheirs -= Math.exp(theirs);
  });
  if (restTheirs > 1e-6) divergence += restTheirs * Math.log(restTheirs / Math.max(restOurs, 1e-9));
  agreement.divergences.push(divergence);
  if (logProbabilities[0]! - logProbabilities[1]! <= 0.1) return;
  agreement.compared++;
  if (logits[ids[0]!] === most) agreement.same++;
}

/**
 * Compares rows of logits with a stored prompt.
 *
 * @param logits [rows, vocabulary].
 * @param prompt Tensors of the prompt, with `counts`, `ids` and `logprobs`.
 * @param agreement What the rows are added to.
 * @param firstRow Position of the first row.
 */
export function compareLogits(
  logits: Float32Array,
  prompt: Golden,
  agreement: Agreement,
  { rows = prompt("counts").values.length, firstRow = 0 } = {},
): void {
  const counts = [...prompt("counts").values];
  const vocabulary = logits.length / rows;
  let start = counts.slice(0, firstRow).reduce((sum, count) => sum + count, 0);
  for (let row = 0; row < rows; row++) {
    const end = start + counts[firstRow + row]!;
    const ids = prompt("ids").values.subarray(start, end) as Int32Array;
    const stored = prompt("logprobs").values.subarray(start, end) as Float32Array;
    compareRow(logits.subarray(row * vocabulary, (row + 1) * vocabulary), ids, stored, agreement);
    start = end;
  }
}
