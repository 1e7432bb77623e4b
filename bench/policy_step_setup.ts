/**
 * A pair of models in the middle of a text under `smallkv`, for benchmarks. Caches hold random numbers, which take as long
 * as those of a text.
 *
 * @module
 */

import { createPolicy } from "../cache/policy_options.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import type { HelperStep } from "../decoding/scoring/small_model.ts";
import { laneSet } from "../decoding/selection/sequence_settings.ts";
import {
  createPolicyBuffers,
  type PolicyShape,
  type PolicyStep,
  writeLanes,
} from "../decoding/selection/buffers.ts";
import { PolicyStore } from "../decoding/engine/store.ts";
import { listShape } from "../decoding/selection/lists.ts";
import { SelectionPlanner } from "../decoding/selection/planner.ts";
import { Session } from "../decoding/session/session.ts";
import { listUnits } from "../decoding/selection/head_groups.ts";
import type { ForwardState } from "../models/forward/forward.ts";
import type { Model } from "../models/load.ts";
import { openSmallModel } from "../decoding/engine/small_cache.ts";

/** Two models of a family. */
export interface BenchPair {
  /** Model whose cache is compressed. */
  readonly large: Model;
  /** Its helper. */
  readonly small: Model;
}

/** Sizes of a step. */
export interface StepSizes {
  /** Tokens of the text, the newest one included. */
  readonly tokens: number;
  /** Share of the full cache that is kept. */
  readonly ratio: number;
}

/** Models, caches and buffers before a step. */
export interface StepSetup {
  /** The large model's sequence. */
  readonly large: Session;
  /** The small model's side. */
  readonly helper: HelperStep;
  /** Large model on the policy's store, buffers, sizes. */
  readonly step: PolicyStep;
  /** Where kept tokens lie. */
  readonly store: PolicyStore;
  /** Chooses on the host. */
  readonly planner: SelectionPlanner;
}

/**
 * Sets a step up.
 *
 * @param pair Models.
 * @param sizes Tokens and budget.
 * @param owner Frees everything but the models.
 * @returns The step, with every token but the newest one kept.
 */
export async function setUpStep(
  pair: BenchPair,
  { tokens, ratio }: StepSizes,
  owner: DisposableStack,
): Promise<StepSetup> {
  const { device, config } = pair.large;
  const capacity = 4 * Math.ceil((tokens + 1) / 4);
  const [policy, budget] = [createPolicy("smallkv"), { ratio }];
  const large = owner.use(new Session(pair.large, { capacity }));
  const helper = owner.use(
    openSmallModel(pair.small, { lanes: [{ policy }], capacity, chunk: 128 }),
  );
  for (const session of [large, helper.session]) {
    fillCache(session.forward);
    for (let token = 1; token < tokens; token++) session.advance();
  }
  const units = listUnits(config, policy.granularity);
  const shape: PolicyShape = {
    ...listShape(units, capacity),
    sequences: 1,
    streams: 1,
    capacity,
    heads: config.layers * config.queryHeads,
    helperHeads: helper.heads,
    weightHeads: 0,
  };
  const buffers = owner.use(createPolicyBuffers(device, shape));
  const common = { lanes: laneSet({ policy, budget }), shape, buffers };
  const { forward, lengths } = large;
  const store = owner.use(
    await PolicyStore.create({ ...common, forward, lengths, kind: "resident" }),
  );
  const step: PolicyStep = { ...common, forward: store.forward };
  writeLanes(step);
  fillScores(step, tokens);
  const planner = new SelectionPlanner({ policy, budget, units, promptTokens: tokens - 1 });
  planner.keepAll(tokens - 1);
  return { large, helper, step, store, planner };
}

/** Writes the same random keys and values into every layer. */
function fillCache({ device, cache }: ForwardState): void {
  const random = seededRandom(1);
  const { byteLength } = cache.layers[0]!.keys;
  const halves = packFloat16(Float32Array.from({ length: byteLength / 2 }, () => 2 * random() - 1));
  for (const { keys, values } of cache.layers) {
    device.write(keys, 0, halves);
    device.write(values, 0, halves);
  }
}

/** Writes skewed sums of attention, and any match. */
function fillScores({ forward: { device }, buffers, shape }: PolicyStep, tokens: number): void {
  const random = seededRandom(2);
  const { helperHeads, heads, capacity } = shape;
  const scores = Float32Array.from(
    { length: helperHeads * capacity },
    (_, index) => index % capacity < tokens ? 10 * random() ** 8 : 0,
  );
  const match = Uint32Array.from({ length: heads }, () => Math.floor(helperHeads * random()));
  device.write(buffers.scores, 0, scores);
  device.write(buffers.match, 0, match);
}
