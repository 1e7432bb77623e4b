/**
 * Times the matching of 336 by 336 heads over 200 tokens, by Jaccard and by cosine.
 *
 * @module
 */

import { matchHeads } from "../analysis/head_match.ts";
import { seededRandom } from "../core/random.ts";
import { median } from "../core/stats.ts";
import { Options, printJson } from "./timing.ts";

const RUNS = 9;
const TOKENS = 200;

/** Heads of one model with random column sums. */
function randomHeads(layers: number, queryHeads: number) {
  const random = seededRandom(layers);
  const accumulated = Float32Array.from({ length: layers * queryHeads * TOKENS }, random);
  return { layers, queryHeads, tokens: TOKENS, accumulated };
}

/** Runs the benchmark. */
export function benchHeads(args: string[]): void {
  new Options(args, {}); // it takes none
  const large = randomHeads(28, 12);
  const small = randomHeads(24, 14);
  const medianMs: Record<string, number> = {};
  for (const by of ["jaccard", "cosine"] as const) {
    medianMs[by] = median(Array.from({ length: RUNS }, () => {
      const start = performance.now();
      matchHeads(large, small, { by });
      return performance.now() - start;
    }));
    console.log(`${by.padEnd(8)} ${medianMs[by].toFixed(1)} ms`);
  }
  printJson("heads", undefined, { runs: RUNS, tokens: TOKENS, medianMs });
}
