/**
 * Positions of slots (D-21) against a model whose cached keys the host rotates in float64.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fullCacheBytes } from "../../../cache/full_cache.ts";
import type { Selection } from "../../../cache/policy.ts";
import { createPolicy, type PolicyOptions, resolvePolicy } from "../../../cache/policy_options.ts";
import { h2o } from "../../../cache/policies/h2o.ts";
import { RequirementError } from "../../../core/check.ts";
import { packFloat16, unpackFloat16 } from "../../../core/float16.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { createRerotatedKeys } from "../../../decoding/selection/selected_attention.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { Device } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import type { Model } from "../../../models/load.ts";
import { decodeUnder, type Variant } from "../../invariants/decode.ts";
import { randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";
import { largestDifference } from "../../support/golden.ts";
import { testBackends } from "../../support/gpu.ts";

const SLOT: Readonly<Record<"positions", "slot">> = { positions: "slot" };
const PROMPT = randomText(3, 118);
const STEPS = randomText(4, 5);

/** One key rotated from one position to another, with pairs half a head apart. */
function rerotated(key: Float32Array, turns: number, base: number): Float64Array {
  const half = key.length / 2;
  return Float64Array.from(key, (value, i) => {
    const angle = turns * base ** (-(i % half) / half);
    const other = i < half ? -key[i + half]! : key[i - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Adds what each KV head's keys are stored without, or subtracts it again. */
function shifted(
  { config: { headDim }, keyCenters }: Session["forward"],
  keys: Float32Array,
  { layer, capacity, sign }: {
    readonly layer: number;
    readonly capacity: number;
    readonly sign: 1 | -1;
  },
): Float32Array {
  const center = keyCenters![layer]?.values;
  if (!center) return keys;
  const at = (i: number) => Math.floor(i / (capacity * headDim)) * headDim + i % headDim;
  return keys.map((value, i) => value + sign * center[at(i)]!);
}

/** A cache whose keys the host keeps as they were written, and rotates before each step. */
async function rerotatedByHand(
  model: Model,
  selections: readonly (readonly Selection[])[],
): Promise<Float32Array[]> {
  const { layers, kvHeads, queryHeads, headDim, ropeBase } = model.config;
  const capacity = PROMPT.length + STEPS.length;
  using session = new Session(model, { capacity, masked: true });
  session.setVisible(() => true);
  await session.prefill(PROMPT, { logits: "none" });
  const { forward } = session;
  const { device, cache } = forward;
  const read = () =>
    Promise.all(cache.layers.map(async ({ keys }, layer) => {
      const stored = unpackFloat16(new Uint32Array(await device.read(keys)));
      return shifted(forward, stored, { layer, capacity, sign: 1 });
    }));
  const written = await read();
  const logits: Float32Array[] = [];
  for (const [step, groups] of selections.entries()) {
    const newest = PROMPT.length + step;
    const keptBy = (head: number) =>
      groups[Math.floor(head * groups.length / (layers * kvHeads))]!.full;
    for (const [layer, keys] of written.entries()) {
      const moved = keys.slice();
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        const kept = keptBy(layer * kvHeads + kvHead);
        kept.forEach((token, rank) => {
          const slot = newest - (kept.length - 1 - rank);
          const first = (kvHead * capacity + token) * headDim;
          const key = keys.subarray(first, first + headDim);
          moved.set(rerotated(key, slot - token, ropeBase), first);
        });
      }
      const stored = shifted(forward, moved, { layer, capacity, sign: -1 });
      device.write(cache.layers[layer]!.keys, 0, packFloat16(stored));
    }
    const seen = Array.from({ length: layers * kvHeads }, (_, head) => new Set(keptBy(head)));
    session.setVisible((head, token) => seen[Math.floor(head * kvHeads / queryHeads)]!.has(token));
    await session.prefill([STEPS[step]!], { onLogits: (row) => logits.push(row.slice()) });
    for (const [layer, keys] of (await read()).entries()) {
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        const first = (kvHead * capacity + newest) * headDim;
        written[layer]!.set(keys.subarray(first, first + headDim), first);
      }
    }
  }
  return logits;
}

/** Policies of every timing and granularity, without marginal tokens, which the host does not weigh. */
const VARIANTS: readonly Variant[] = [
  { policy: "streaming" },
  { policy: "h2o" },
  { policy: "h2o", options: { granularity: "layer" } },
  { policy: "tova" },
  { policy: "pyramid_budget" },
  { policy: "smallkv", options: { marginal: false } },
];

for (const backend of testBackends) {
  Deno.test(`positions of slots give the same as keys rotated on the host on ${backend}`, async () => {
    for (const [index, { policy, options }] of VARIANTS.entries()) {
      using pair = await randomPair(backend, {
        shape: SHAPES[index % SHAPES.length]!,
        seed: index,
      });
      const request = { policy, prompt: PROMPT, steps: STEPS, budget: 0.2 };
      const usual = await decodeUnder(pair, { ...request, ...(options && { options }) });
      for (const store of ["resident", "tiered"] as const) {
        const run = await decodeUnder(pair, {
          ...request,
          options: { ...options, ...SLOT },
          store,
        });
        const expected = await rerotatedByHand(pair.large, run.selections);
        const name = `${policy} ${JSON.stringify(options)} in a ${store} store`;
        assertEquals(run.logits[0], usual.logits[0], `${name}: a prompt knows no slots`);
        for (const [step, row] of expected.entries()) {
          const actual = run.logits[step + 1]!;
          const error = largestDifference(actual, row);
          assert(error < 2e-3, `${name}, step ${step}: ${error}`);
          const moved = largestDifference(actual, usual.logits[step + 1]!);
          assert(moved > 2e-2, `${name}, step ${step}: ${moved} from original positions`);
        }
      }
    }
  });

  Deno.test(`slots are positions where nothing is dropped, bit for bit, on ${backend}`, async () => {
    for (const policy of ["streaming", "h2o", "smallkv"]) {
      using pair = await randomPair(backend, { shape: SHAPES[1]!, seed: 8 });
      for (const [length, budget] of [[118, 1], [60, 0.2]] as const) {
        const request = { policy, prompt: PROMPT.slice(0, length), steps: STEPS, budget };
        const [usual, slots] = [
          await decodeUnder(pair, request),
          await decodeUnder(pair, { ...request, options: SLOT }),
        ];
        assertEquals(slots.logits, usual.logits, `${policy}, ${length} tokens`);
      }
    }
  });
}

/** Bytes that a session under H2O allocates, and those that remain. */
async function costOf(device: Device, pair: ModelPair, options: PolicyOptions) {
  const start = device.usage;
  let bytes: number;
  {
    using session = new PolicySession(pair, {
      policy: createPolicy("h2o", options),
      budget: { ratio: 0.2 },
      capacity: 132,
    });
    await session.prefill(PROMPT);
    await session.step();
    bytes = (await session.memory()).largeCacheBytes;
  }
  const { buffersCreated, bindGroupsCreated, liveBytes } = device.usage;
  return {
    bytes,
    buffers: buffersCreated - start.buffersCreated,
    groups: bindGroupsCreated - start.bindGroupsCreated,
    left: liveBytes - start.liveBytes,
  };
}

Deno.test("rerotated keys take the room of one layer, are counted, and cost nothing where unused", async () => {
  using device = await openDevice({ backend: testBackends[0]! });
  using pair = await randomPair(device, { shape: SHAPES[1]!, seed: 5 });
  const { layers } = pair.large.config;
  // The first sessions of a device create what later ones share.
  for (const options of [{}, SLOT]) await costOf(device, pair, options);
  const usual = await costOf(device, pair, {});
  const bytes = fullCacheBytes({ ...pair.large.config, capacity: 132, sequences: 1 });
  assertEquals([usual.bytes, usual.left], [bytes, 0]);
  assertEquals(await costOf(device, pair, { positions: "original" }), usual);
  assertEquals(await costOf(device, pair, SLOT), {
    bytes: bytes * (1 + 0.5 / layers),
    buffers: usual.buffers + 2,
    groups: usual.groups + layers,
    left: 0,
  });
});

Deno.test("slots are refused where query heads that share keys select alone", async () => {
  const options = { ...SLOT, granularity: "query_head" } as const;
  const message =
    "granularity kv_head, kv_match or layer if it is slot: current value is query_head";
  assertThrows(
    () => createPolicy("h2o", options),
    RequirementError,
    `positions must go with ${message}`,
  );
  createPolicy("h2o", { ...options, positions: "original" });
  // A preset of your own, whose defaults are not options.
  const policy = resolvePolicy({ ...h2o, granularity: "query_head", defaults: SLOT });
  using pair = await randomPair("reference", { shape: SHAPES[1]!, seed: 5 });
  using session = new Session(pair.large, { capacity: 8 });
  const { forward } = session;
  const settings = {
    settings: [{ policy, budget: { ratio: 1 } }],
    smallSequences: [],
    firstReaders: [],
    granularity: "query_head",
    reduction: "mean",
    weights: "query_head",
  } as const;
  assertThrows(
    () => createRerotatedKeys({ forward, batch: settings }),
    RequirementError,
    "granularity must be kv_head, kv_match or layer: current value is query_head",
  );
});
