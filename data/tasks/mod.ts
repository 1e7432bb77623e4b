/**
 * Graded tasks.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Task } from "../task.ts";
import { bbhTask } from "./bbh.ts";
import { gsm8kTask } from "./gsm8k.ts";
import { longBenchTask } from "./longbench.ts";
import { microworldTask } from "./microworld.ts";
import { mmluTask } from "./mmlu.ts";
import { mtBenchTask } from "./mt_bench.ts";
import { rulerTask } from "./ruler.ts";

export * from "./bbh.ts";
export * from "./gsm8k.ts";
export * from "./longbench.ts";
export * from "./microworld.ts";
export * from "./mmlu.ts";
export * from "./mt_bench.ts";
export * from "./ruler.ts";

/** All of them, in the order of their file names. */
export const TASKS: readonly Task[] = [
  bbhTask,
  gsm8kTask,
  longBenchTask,
  microworldTask,
  mmluTask,
  mtBenchTask,
  rulerTask,
];
