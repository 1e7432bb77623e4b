/**
 * Experiments of the paper and the runner that reproduces them.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Experiment } from "./experiment.ts";
import { arithmeticClaims } from "./arithmetic.ts";
import { fig1b } from "./fig1b.ts";
import { fig1c } from "./fig1c.ts";
import { fig2 } from "./fig2.ts";
import { fig8 } from "./fig8.ts";
import { fig9 } from "./fig9.ts";
import { matchingWindowStudy } from "./matching_window.ts";
import { table2 } from "./table2.ts";
import { table7And8 } from "./table7_8.ts";
import { table9 } from "./table9.ts";

export * from "./arithmetic.ts";
export * from "./arithmetic_shapes.ts";
export * from "./claims.ts";
export * from "./contexts.ts";
export * from "./experiment.ts";
export * from "./fig1b.ts";
export * from "./fig1b_summary.ts";
export * from "./fig1c.ts";
export * from "./fig2.ts";
export * from "./fig8.ts";
export * from "./fig9.ts";
export * from "./matching_window.ts";
export * from "./result.ts";
export * from "./similarity.ts";
export * from "./sizes.ts";
export * from "./table1.ts";
export * from "./table2.ts";
export * from "./table7_8.ts";
export * from "./table9.ts";

/** All of them, in the order of their file names. */
export const EXPERIMENTS: readonly Experiment[] = [
  arithmeticClaims,
  fig1b,
  fig1c,
  fig2,
  fig8,
  fig9,
  matchingWindowStudy,
  table2,
  table7And8,
  table9,
];
