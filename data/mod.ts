/**
 * Datasets and the folders that models and data come from.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Dataset } from "./dataset.ts";
import { bbh } from "./bbh.ts";
import { gsm8k } from "./gsm8k.ts";
import { longBench } from "./longbench.ts";
import { microworld } from "./microworld.ts";
import { mmlu } from "./mmlu.ts";
import { mtBench } from "./mt_bench.ts";
import { wikitext2 } from "./wikitext2.ts";

export * from "./bbh.ts";
export * from "./gsm8k.ts";
export * from "./longbench.ts";
export * from "./microworld.ts";
export * from "./mmlu.ts";
export * from "./mt_bench.ts";
export * from "./wikitext2.ts";

/** All of them, in the order of their file names. */
export const DATASETS: readonly Dataset[] = [
  bbh,
  gsm8k,
  longBench,
  microworld,
  mmlu,
  mtBench,
  wikitext2,
];
