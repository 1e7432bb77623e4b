/**
 * Experiments of the paper and the runner that reproduces them.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Experiment } from "./experiment.ts";
import { arithmeticClaims } from "./arithmetic.ts";
import { cheaperSmall } from "./cheaper_small.ts";
import { decayChoice } from "./decay_choice.ts";
import { drafts } from "./drafts.ts";
import { equalMemory } from "./equal_memory.ts";
import { fig10 } from "./fig10.ts";
import { fig1b } from "./fig1b.ts";
import { fig1c } from "./fig1c.ts";
import { fig1d } from "./fig1d.ts";
import { fig2 } from "./fig2.ts";
import { fig5 } from "./fig5.ts";
import { fig6 } from "./fig6.ts";
import { fig7 } from "./fig7.ts";
import { fig8 } from "./fig8.ts";
import { fig9 } from "./fig9.ts";
import { klByPolicy } from "./kl_by_policy.ts";
import { lossPrediction } from "./loss_prediction.ts";
import { matchingWindowStudy } from "./matching_window.ts";
import { microworldTasks } from "./microworld_tasks.ts";
import { selectionQuality } from "./selection_quality.ts";
import { table1 } from "./table1.ts";
import { table2 } from "./table2.ts";
import { table5 } from "./table5.ts";
import { table6 } from "./table6.ts";
import { table7And8 } from "./table7_8.ts";
import { table9 } from "./table9.ts";

export * from "./arithmetic.ts";
export * from "./cheaper_small.ts";
export * from "./decay_choice.ts";
export * from "./drafts.ts";
export * from "./equal_memory.ts";
export * from "./experiment.ts";
export * from "./fig10.ts";
export * from "./fig1b.ts";
export * from "./fig1c.ts";
export * from "./fig1d.ts";
export * from "./fig2.ts";
export * from "./fig5.ts";
export * from "./fig6.ts";
export * from "./fig7.ts";
export * from "./fig8.ts";
export * from "./fig9.ts";
export * from "./kl_by_policy.ts";
export * from "./loss_prediction.ts";
export * from "./matching_window.ts";
export * from "./microworld_tasks.ts";
export * from "./result.ts";
export * from "./selection_quality.ts";
export * from "./table1.ts";
export * from "./table2.ts";
export * from "./table5.ts";
export * from "./table6.ts";
export * from "./table7_8.ts";
export * from "./table9.ts";

/** All of them, in the order of their file names. */
export const EXPERIMENTS: readonly Experiment[] = [
  arithmeticClaims,
  cheaperSmall,
  decayChoice,
  drafts,
  equalMemory,
  fig10,
  fig1b,
  fig1c,
  fig1d,
  fig2,
  fig5,
  fig6,
  fig7,
  fig8,
  fig9,
  klByPolicy,
  lossPrediction,
  matchingWindowStudy,
  microworldTasks,
  selectionQuality,
  table1,
  table2,
  table5,
  table6,
  table7And8,
  table9,
];
