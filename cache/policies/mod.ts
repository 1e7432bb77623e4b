/**
 * Cache policies.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { Policy } from "../policy.ts";
import { expectedAttention } from "./expected_attention.ts";
import { full } from "./full.ts";
import { h2o } from "./h2o.ts";
import { keyDiff } from "./key_diff.ts";
import { keyNorm } from "./key_norm.ts";
import { keySketch } from "./key_sketch.ts";
import { kvzip } from "./kvzip.ts";
import { pyramidBudget } from "./pyramid_budget.ts";
import { pyramidOfficial } from "./pyramid_official.ts";
import { pyramidScaled } from "./pyramid_scaled.ts";
import { quest } from "./quest.ts";
import { rKv } from "./r_kv.ts";
import { randomControl } from "./random_control.ts";
import { smallkv } from "./smallkv.ts";
import { smallkvQueryAware } from "./smallkv_query_aware.ts";
import { snapkv } from "./snapkv.ts";
import { snapkvDecoding } from "./snapkv_decoding.ts";
import { streaming } from "./streaming.ts";
import { tova } from "./tova.ts";
import { withoutSmallModel } from "./without_small_model.ts";

export * from "./expected_attention.ts";
export * from "./full.ts";
export * from "./h2o.ts";
export * from "./key_diff.ts";
export * from "./key_norm.ts";
export * from "./key_sketch.ts";
export * from "./kvzip.ts";
export * from "./pyramid_budget.ts";
export * from "./pyramid_official.ts";
export * from "./pyramid_scaled.ts";
export * from "./quest.ts";
export * from "./r_kv.ts";
export * from "./random_control.ts";
export * from "./smallkv.ts";
export * from "./smallkv_query_aware.ts";
export * from "./snapkv.ts";
export * from "./snapkv_decoding.ts";
export * from "./streaming.ts";
export * from "./tova.ts";
export * from "./without_small_model.ts";

/** All of them, in the order of their file names. */
export const POLICIES: readonly Policy[] = [
  expectedAttention,
  full,
  h2o,
  keyDiff,
  keyNorm,
  keySketch,
  kvzip,
  pyramidBudget,
  pyramidOfficial,
  pyramidScaled,
  quest,
  rKv,
  randomControl,
  smallkv,
  smallkvQueryAware,
  snapkv,
  snapkvDecoding,
  streaming,
  tova,
  withoutSmallModel,
];
