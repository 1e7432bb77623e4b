/**
 * Invariant 19 of docs/method.md: where the rest counts, it changes nothing if every token is kept, is a marginal token if
 * it is one token, and gives what float64 gives of plain arrays.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { smallkv } from "../../cache/policies/smallkv.ts";
import type { Policy } from "../../cache/policy.ts";
import { type PolicyOptions, resolvePolicy } from "../../cache/policy_options.ts";
import { packFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import { MARGINAL_MODES, marginalFactors } from "../../kernels/marginal.ts";
import { REST_HEADER, restValuesCommand, ROW_MASS } from "../../kernels/rest_values.ts";
import { selectedAttentionCommands, selectedSplitBytes } from "../../kernels/selected_attention.ts";
import {
  CALIBRATION_SINKS,
  LIST_HEADER_WORDS,
  WEIGHED_REST,
} from "../../kernels/selection_list.ts";
import { sumValuesCommand } from "../../kernels/sum_values.ts";
import { largest, largestDifference } from "../support/golden.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { type Call, type KernelMode, randomCall, softmaxRows, weightedValues } from "./attend.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomPair, randomText } from "./random_pair.ts";

const STEPS = 4;

/** Mass of the rest in a call: by the small model's row, or given. */
type Mass = number;

/** Runs a layer's attention with the rest on a device: sums, means, attention. */
async function attendWithRest(
  device: Device,
  call: Call,
  options: { readonly combine: KernelMode; readonly mass: Mass; readonly isSplit: boolean },
): Promise<Float32Array> {
  const { kvHeads, queryHeads, headDim, tokens, kept, marginal } = call;
  const { combine, mass, isSplit } = options;
  const group = queryHeads / kvHeads;
  const listWords = LIST_HEADER_WORDS + group + 2 * tokens;
  using stack = new DisposableStack();
  const room = (label: string, words: number): DeviceBuffer =>
    stack.use(device.createBuffer(label, 4 * words));
  const upload = (label: string, data: Float32Array | Uint32Array) => {
    const buffer = room(label, data.length);
    device.write(buffer, 0, data.slice());
    return buffer;
  };
  const sinks = kept.filter((token) => token < CALIBRATION_SINKS).length;
  const join = MARGINAL_MODES.indexOf(combine) + (mass === ROW_MASS ? WEIGHED_REST : 0);
  const lists = new Uint32Array(kvHeads * listWords);
  for (let head = 0; head < kvHeads; head++) {
    const matched = Array.from({ length: group }, (_, k) => head * group + k);
    const entries = [...kept, ...marginal].flatMap((token) => [token, head * tokens + token]);
    const header = [kept.length, marginal.length, sinks, join];
    lists.set([...header, ...matched, ...entries], head * listWords);
  }
  const stride = (queryHeads + 2 * kvHeads) * headDim;
  const qkv = new Float32Array(stride);
  qkv.set(call.queries);
  const values = upload("values", packFloat16(call.values));
  const listed = upload("lists", lists);
  const state = upload("state", Uint32Array.of(0, tokens - 1));
  const sums = room("sums", kvHeads * headDim);
  const rest = room("rest", kvHeads * (REST_HEADER + headDim));
  const output = room("output", queryHeads * headDim);
  const sizes = { kvHeads, headDim, sequences: 1 };
  const selection = { groupsPerLayer: kvHeads, groupOffset: 0, groups: kvHeads, listWords };
  const splitWords = selectedSplitBytes(call, 1) / 4;
  const recording = stack.use(
    await device.record("a layer's attention", [
      sumValuesCommand({ ranges: upload("ranges", Uint32Array.of(0, tokens)), values, sums }, {
        ...sizes,
        layer: 0,
        slots: tokens,
      }),
      restValuesCommand({
        state,
        lists: listed,
        values,
        sums,
        masses: upload("masses", new Float32Array(kvHeads).fill(mass)),
        rest,
      }, {
        ...sizes,
        ...selection,
        layer: 0,
        summedSequences: 1,
        rowsPerSequence: 1,
        groupHeads: group,
      }),
      ...selectedAttentionCommands(device.info, {
        shape: {
          ...sizes,
          queryHeads,
          rowsPerSequence: 1,
          capacity: tokens,
          stride,
          outputStride: queryHeads * headDim,
        },
        selection: { ...selection, smallHeads: queryHeads },
        buffers: {
          state,
          qkv: upload("qkv", qkv),
          keys: upload("keys", packFloat16(call.keys)),
          values,
          lists: listed,
          small_attention: upload("small attention", call.small),
          output,
          attention: room("attention", 1),
          partial: room("parts", (isSplit ? 3 : 1) * splitWords),
          rest,
        },
        splits: isSplit ? 3 : 1,
      }),
    ]),
  );
  device.submit(recording);
  return new Float32Array(await device.read(output));
}

/** The same in float64 from the method: the mean of the rest takes the rest's mass. */
function expectedOf(call: Call, combine: KernelMode, mass: Mass): Float64Array {
  const { queryHeads, kvHeads, headDim, tokens, kept, marginal } = call;
  const known = new Set([...kept, ...marginal]);
  const others = Array.from({ length: tokens }, (_, token) => token)
    .filter((token) => !known.has(token));
  const softmax = softmaxRows(call, kept);
  const exact = weightedValues(call, softmax);
  const output = new Float64Array(queryHeads * headDim);
  for (let head = 0; head < queryHeads; head++) {
    const kvHead = Math.floor(head * kvHeads / queryHeads);
    const row = call.small.subarray(head * tokens, (head + 1) * tokens);
    const total = (list: readonly number[], values: ArrayLike<number>) =>
      list.reduce((sum, token) => sum + values[token]!, 0);
    const sinks = kept.filter((token) => token < CALIBRATION_SINKS);
    const largeSinks = total(sinks, softmax[head]!);
    const value = (token: number, i: number) =>
      call.values[(kvHead * tokens + token) * headDim + i]!;
    const byRow = mass === ROW_MASS;
    const marginalMass = total(marginal, row);
    const restMass = others.length === 0 ? 0 : byRow ? 1 - total(kept, row) - marginalMass : mass;
    const keptMass = byRow ? total(kept, row) : 1 - restMass - marginalMass;
    const factors = marginalFactors(combine, {
      marginalTokens: marginal.length + others.length,
      kept: keptMass,
      marginal: marginalMass + restMass,
      sinks: byRow ? total(sinks, row) : keptMass * largeSinks,
      largeSinks,
    });
    for (let i = 0; i < headDim; i++) {
      const mean = others.reduce((sum, token) => sum + value(token, i), 0) /
        Math.max(1, others.length);
      const joined = marginal.reduce((sum, token) => sum + row[token]! * value(token, i), 0) +
        restMass * mean;
      output[head * headDim + i] = factors.kept * exact[head * headDim + i]! +
        factors.marginal * joined;
    }
  }
  return output;
}

/** A policy that leaves a number of tokens out, and lists some as marginal. */
function leaving(left: number, marginal: number, options: PolicyOptions) {
  const policy: Policy = {
    ...smallkv,
    name: `leaving ${left}`,
    counts: ({ tokens }) => ({
      sink: 0,
      recent: 9,
      critical: tokens - 9 - marginal - left,
      marginal,
    }),
  };
  return resolvePolicy(policy, options);
}

/** Logits of given steps under a policy with room for every token. */
async function logitsUnder(
  pair: ModelPair,
  policy: ReturnType<typeof leaving>,
  request: {
    readonly text: readonly number[];
    readonly store?: "resident" | "tiered";
    readonly isPlannedOnHost?: boolean;
  },
): Promise<Float32Array[]> {
  const { text, ...options } = request;
  const budget = { ratio: 1 };
  using session = new PolicySession(pair, {
    policy,
    budget,
    capacity: text.length + 1,
    ...options,
  });
  await session.prefill(text.slice(0, -STEPS));
  const logits: Float32Array[] = [];
  for (const token of text.slice(-STEPS)) {
    logits.push((await session.step({ tokens: [token], logits: true })).logits!);
  }
  return logits;
}

function assertNear(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  actual.forEach((row, step) => {
    const error = largestDifference(row, expected[step]!) / largest(row);
    assert(error <= 1e-4, `step ${step} is off by ${error}`);
  });
}

for (const backend of testBackends) {
  Deno.test(`19: a layer's attention with the rest is that of plain arrays in float64, on ${backend}`, async () => {
    const device = await testDevice(backend);
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          kvHeads: fc.integer({ min: 1, max: 3 }),
          group: fc.integer({ min: 1, max: 3 }),
          headDim: fc.constantFrom(8, 24, 64),
          tokens: fc.integer({ min: 1, max: 140 }),
        }),
        fc.constantFrom(...MARGINAL_MODES),
        fc.constantFrom(ROW_MASS, ROW_MASS, 0.3),
        fc.boolean(),
        fc.nat(1e6),
        async (shape, combine, mass, isSplit, seed) => {
          const random = randomCall(seededRandom(seed), shape);
          const call = mass === ROW_MASS ? random : { ...random, marginal: [] };
          const actual = await attendWithRest(device, call, { combine, mass, isSplit });
          const expected = expectedOf(call, combine, mass);
          const error = Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!)));
          assert(error <= 2e-4, `${error} with ${combine} in ${JSON.stringify(shape)}`);
        },
      ),
      { numRuns: 60, seed: 19 },
    );
  });

  Deno.test(`19: the rest changes nothing where every token is kept, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom("smallkv", "h2o", "without_small_model"),
        fc.constantFrom("resident", "tiered"),
        async (one, policy, store) => {
          using pair = await randomPair(backend, one);
          const prompt = randomText(one.seed, 118);
          const request = { policy, budget: 1, prompt, steps: STEPS, store };
          const usual = await decodeUnder(pair, request);
          const withRest = await decodeUnder(pair, { ...request, options: { rest: "mean" } });
          assertEquals(withRest.selections, usual.selections);
          if (backend === "cpu") assertEquals(withRest.logits, usual.logits);
          else assertNear(withRest.logits, usual.logits);
        },
      ),
      { numRuns: 4, seed: 19 },
    );
  });

  Deno.test(`19: a rest of one token is a marginal token, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(...MARGINAL_MODES),
        fc.constantFrom<PolicyOptions>(
          { score: "row" },
          { granularity: "query_head" },
          { granularity: "layer", weights: "group" },
          { granularity: "kv_match" },
          { interval: 2 },
        ),
        fc.constantFrom("resident", "tiered"),
        async (one, combine, choices, store) => {
          using pair = await randomPair(backend, one);
          const text = randomText(one.seed, 124);
          const place = choices.granularity === "query_head" ? "resident" : store;
          for (const marginal of [0, 7]) {
            const options = { ...choices, combine };
            // An interval's newest tokens are kept, so that the last marginal one stays the only one left out.
            const one = leaving(1, marginal, { ...options, rest: "mean" });
            const listed = leaving(0, marginal + 1, options);
            for (const isPlannedOnHost of [false, true]) {
              const request = { text, store: place, isPlannedOnHost } as const;
              assertNear(
                await logitsUnder(pair, one, request),
                await logitsUnder(pair, listed, request),
              );
            }
          }
        },
      ),
      { numRuns: 5, seed: 19 },
    );
  });
}
