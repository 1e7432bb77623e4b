/**
 * Pieces of a decode step under `smallkv` that can be run again and again at the same place of a text. Caches hold random
 * numbers, which take as long as those of a text.
 *
 * @module
 */

import type { TierCounts } from "../cache/budget.ts";
import { createFullCache } from "../cache/full_cache.ts";
import { createPolicy } from "../cache/policy_options.ts";
import { poolSizes } from "../cache/tiered_pools.ts";
import { TieredStore } from "../cache/tiered_store.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import { scoreCommands } from "../decoding/scoring/small_model.ts";
import { sequenceSettings } from "../decoding/selection/sequence_settings.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import {
  createPolicyBuffers,
  type PolicyShape,
  type PolicyStep,
  writeSettings,
} from "../decoding/selection/buffers.ts";
import { recordLargeStep } from "../decoding/engine/step.ts";
import { PolicyStore } from "../decoding/engine/store.ts";
import { selectedStep } from "../decoding/selection/selected_attention.ts";
import { DevicePlanner, SelectionPlanner } from "../decoding/selection/planner.ts";
import { listShape } from "../decoding/selection/lists.ts";
import { listGroups } from "../decoding/selection/head_groups.ts";
import { Session } from "../decoding/session/session.ts";
import type { Command, DeviceBuffer, Recording } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { decodeAttentionCommands } from "../kernels/flash_attention.ts";
import type { ModelConfig } from "../models/config.ts";
import { attentionShape, type ForwardState } from "../models/forward/forward.ts";
import { argmaxStep, embeddingStep, layerStep, logitsStep } from "../models/forward/transformer.ts";
import type { Work } from "./timing.ts";
import { openSmallModel } from "../decoding/engine/small_cache.ts";

const STEP = { sequences: 1, rowsPerSequence: 1 };

/** Parts of a step: name, what it is, runs between two readings of the clock. */
export const PARTS = [
  ["full", "large model, full cache", 1],
  ["large", "large model, kept tokens", 1],
  ["small", "small model, rows, scores", 1],
  ["scores", "scores and their join", 8],
  ["planOnDevice", "plan on the device", 8],
  ["planOnHost", "plan on the host", 1],
  ["report", "read the plan, account", 1],
  ["readToken", "read a token", 1],
  ["attendAll", "attention, all tokens", 8],
  ["attendKept", "attention, kept tokens", 16],
  ["attendFew", "attention, as many in a row", 16],
] as const;

/** Name of a part. */
export type PartName = typeof PARTS[number][0];

/** Sizes of a step. */
export interface StepSizes {
  /** Tokens of the text, the newest one included. */
  readonly tokens: number;
  /** Share of the full cache that is kept. */
  readonly ratio: number;
}

/** Models, caches and buffers before a step, with every token but the newest one kept. */
async function setUp(pair: Required<ModelPair>, sizes: StepSizes, owner: DisposableStack) {
  const { tokens, ratio } = sizes;
  const { device, config } = pair.large;
  const capacity = 4 * Math.ceil((tokens + 1) / 4);
  const [policy, budget] = [createPolicy("smallkv"), { ratio }];
  const large = owner.use(new Session(pair.large, { capacity }));
  const small = owner.use(
    openSmallModel(pair.small, { settings: [{ policy }], capacity, chunk: 128 }),
  );
  for (const session of [large, small.wholeSession]) {
    fillCache(session.forward);
    for (let token = 1; token < tokens; token++) session.advance();
  }
  const groups = listGroups(config, policy.granularity);
  const shape: PolicyShape = {
    ...listShape(groups, capacity),
    sequences: 1,
    smallSequences: 1,
    capacity,
    heads: config.layers * config.queryHeads,
    smallHeads: small.heads,
    attentionHeads: 0,
  };
  const buffers = owner.use(createPolicyBuffers(device, shape));
  const common = { batch: sequenceSettings({ policy, budget }), shape, buffers };
  const { forward, lengths } = large;
  const store = owner.use(
    await PolicyStore.create({ ...common, forward, lengths, kind: "resident" }),
  );
  const step: PolicyStep = { ...common, forward: store.forward };
  writeSettings(step);
  fillScores(step, tokens);
  const planner = new SelectionPlanner({ policy, budget, groups, promptTokens: tokens - 1 });
  planner.reset(tokens - 1);
  return { large, small, step, store, planner };
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
  const { smallHeads, heads, capacity } = shape;
  const scores = Float32Array.from(
    { length: smallHeads * capacity },
    (_, index) => index % capacity < tokens ? 10 * random() ** 8 : 0,
  );
  const match = Uint32Array.from({ length: heads }, () => Math.floor(smallHeads * random()));
  device.write(buffers.scores, 0, scores);
  device.write(buffers.match, 0, match);
}

/**
 * Prepares the pieces; lists hold a plan.
 *
 * @param owner Frees everything but the models.
 * @returns Tokens of each tier that a KV head keeps, and the pieces.
 */
export async function stepParts(
  pair: Required<ModelPair>,
  sizes: StepSizes,
  owner: DisposableStack,
): Promise<{ counts: TierCounts; works: Record<PartName, Work> }> {
  const { large, small, step, store, planner } = await setUp(pair, sizes, owner);
  const { tokens } = sizes;
  const { forward } = large;
  const { device, config: { layers } } = forward;
  const devicePlanner = owner.use(await DevicePlanner.create(step));
  const counts = planner.counts(tokens, 0);
  const everyLayer = (commands: (layer: number) => Command[]) =>
    Array.from({ length: layers }, (_, layer) => commands(layer)).flat();
  const submit = (recording: Recording) => () => {
    large.writeLengths();
    device.submit(recording);
  };
  const recorded = async (commands: readonly Command[]) =>
    submit(owner.use(await device.record("part of a step", commands)));
  const attend = (state: DeviceBuffer) =>
    recorded(everyLayer((layer) => attention(forward, layer, state)));
  // A text with as many keys and values as are kept, which lie side by side.
  const { sink, recent, critical, marginal } = counts;
  const few = owner.use(device.createBuffer("a shorter text", 8));
  device.write(few, 0, Uint32Array.of(0, sink + recent + critical + Math.round(marginal / 2) - 1));
  const runs: Record<PartName, Work["run"]> = {
    full: await recorded([
      ...embeddingStep(forward, STEP),
      ...everyLayer((layer) => layerStep(forward, STEP, { layer })),
      ...logitsStep(forward, { rows: 1, rowStep: 1, rowOffset: 0 }),
      ...argmaxStep(forward, STEP),
    ]),
    large: submit(owner.use(await recordLargeStep(step))),
    async small() {
      large.writeLengths();
      await small.open(step, forward);
      device.submit(small.prepare());
    },
    scores: await recorded(scoreCommands(step, forward)),
    planOnDevice() {
      large.writeLengths();
      device.submit(...devicePlanner.prepare([planner.tiers(tokens)]));
    },
    async planOnHost() {
      const values = new Float32Array(await device.read(step.buffers.saliency));
      planner.plan(tokens, { values, stride: step.shape.capacity });
      store.apply([planner.selections], [new Uint32Array(step.shape.heads)]);
    },
    async report() {
      const [selections] = await devicePlanner.read();
      planner.take(selections!, true);
      store.account([planner.selections]);
    },
    async readToken() {
      await large.nextTokens();
    },
    attendAll: await attend(forward.workspace.state),
    attendKept: await recorded(everyLayer((layer) => selectedStep(step, layer))),
    attendFew: await attend(few),
  };
  await runs.small();
  await runs.planOnDevice();
  const works = PARTS.map(([name, , times]) => {
    const run = async () => {
      for (let count = 0; count < times; count++) await runs[name]();
    };
    return [name, { run, times }] as const;
  });
  return { counts, works: Object.fromEntries(works) as Record<PartName, Work> };
}

function attention(forward: ForwardState, layer: number, state: DeviceBuffer): Command[] {
  const { device, workspace, cache } = forward;
  return decodeAttentionCommands(device.info, {
    shape: attentionShape(forward, STEP, layer),
    buffers: {
      state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      output: workspace.heads,
      log_sum: workspace.logSum,
      ...(workspace.partial && { partial: workspace.partial }),
    },
  });
}

/** Bytes on the device. */
export interface CacheMemory {
  /** The full cache, as it is after the prompt. */
  readonly fullBytes: number;
  /** One layer of it. */
  readonly layerBytes: number;
  /** The most that there was while it moved to pools. */
  readonly peakBytes: number;
  /** The pools. */
  readonly poolBytes: number;
  /** The pools with what carries tokens to them and back. */
  readonly heldBytes: number;
}

/**
 * Moves a cache of a model's size to a tiered store, on a separate device.
 *
 * @returns Bytes before, while and after it moves, from the buffers that exist.
 */
export async function measureMemory(
  { layers, kvHeads, headDim }: ModelConfig,
  { tokens, ratio }: StepSizes,
): Promise<CacheMemory> {
  using device = await openDevice();
  const shape = { layers, kvHeads, headDim, capacity: tokens, sequences: 1 };
  const request = { budget: { ratio }, promptTokens: tokens, capacity: tokens, layers };
  const pools = poolSizes(createPolicy("smallkv"), request);
  const fullCache = createFullCache(device, shape);
  const fullBytes = device.usage.liveBytes;
  using store = await TieredStore.create(device, {
    fullCache,
    lengths: [tokens - 1],
    pools: (layer) => pools[layer]!,
    isPermanent: false,
  });
  const { peakBytes, liveBytes } = device.usage;
  const poolBytes = store.byteLength;
  return { fullBytes, layerBytes: fullBytes / layers, peakBytes, poolBytes, heldBytes: liveBytes };
}
