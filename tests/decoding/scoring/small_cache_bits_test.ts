/**
 * Small models whose cache has 8 or 4 bits a number, or 8 in keys and 4 in values (D-36).
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type CacheBits, cacheFormats, headBytes } from "../../../cache/full_cache.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { settingBatches } from "../../../decoding/engine/settings.ts";
import { Session } from "../../../decoding/session/session.ts";
import { readVectors } from "../../../decoding/session/vectors.ts";
import { generateAll } from "../../../decoding/text/generate.ts";
import { QUANTIZED_GROUP } from "../../../kernels/quantized_rows.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";
import { decode } from "../engine/small_runs.ts";

const FEWER = [8, "8/4", 4] as const;
/** Bits of keys and of values. */
const BITS = { 16: [16, 16], 8: [8, 8], "8/4": [8, 4], 4: [4, 4] } as const;
const TOKENS = someTokens(131);

for (const backend of testBackends) {
  Deno.test(`a small model's cache of 16 bits changes no bit on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const run = { tokens: TOKENS, steps: 4 };
    assertEquals(
      await decode(pair, { ...run, cut: { smallCacheBits: 16 } }),
      await decode(pair, run),
    );
  });

  Deno.test(`a small model's cache of fewer bits takes the bytes of its rows on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const { device, config: { layers, kvHeads, headDim } } = pair.small;
    const measure = async (smallCacheBits: CacheBits) => {
      using session = new PolicySession(pair, {
        policy: createPolicy("smallkv"),
        budget: { ratio: 0.2 },
        capacity: 160,
        smallCacheBits,
      });
      await session.prefill(TOKENS);
      await session.step();
      const { smallCacheBytes: held, smallCacheBytesIdeal: kept } = await session.memory();
      return { held, kept, live: device.usage.liveBytes };
    };
    await measure(4); // the device keeps buffers that it reads with
    const halves = await measure(16);
    for (const bits of FEWER) {
      const { held, kept, live } = await measure(bits);
      const { keys, values } = headBytes({ headDim, ...cacheFormats(bits) });
      const token = layers * kvHeads * (keys + values);
      assertEquals([held, kept], [160 * token, (TOKENS.length + 1) * token], `${bits} bits`);
      assertEquals(halves.live - live, halves.held - held, `${bits} bits`);
      // Groups of 32 numbers take four bytes beside their codes.
      const mean = (BITS[bits][0] + BITS[bits][1]) / 2;
      if (headDim % QUANTIZED_GROUP === 0) assertEquals(held / halves.held, mean / 16 + 4 / 64);
    }
  });

  Deno.test(`a session of fewer bits rounds keys and values by at most half a step on ${backend}`, async () => {
    const { small } = await embeddedModels(backend);
    const { kvHeads, headDim } = small.config;
    const kindElements = kvHeads * 33 * headDim;
    const firstLayer = async (options: { cacheBits?: CacheBits; isExact?: boolean }) => {
      using session = new Session(small, { capacity: 40, ...options });
      await session.prefill(TOKENS.slice(0, 33), { logits: "none" });
      const all = await readVectors(session.forward, { sequence: 0, from: 0, to: 33 });
      return all.slice(0, 2 * kindElements);
    };
    const exact = await firstLayer({ isExact: true });
    const center = small.weights.layers[0]!.keyCenter?.values;
    // Keys are rounded without their center.
    const stored = exact.map((value, i) => {
      const element = Math.floor(i / headDim / 33) * headDim + i % headDim;
      return value - (i < kindElements && center ? center[element]! : 0);
    });
    for (const cacheBits of FEWER) {
      const rounded = await firstLayer({ cacheBits });
      const width = Math.min(QUANTIZED_GROUP, headDim);
      for (let first = 0; first < exact.length; first += width) {
        const group = exact.subarray(first, first + width);
        const range = stored.subarray(first, first + width);
        const [least, most] = [Math.min(...range), Math.max(...range)];
        const bits = BITS[cacheBits][first < kindElements ? 0 : 1];
        const half = (most - least) / (2 ** bits - 1) / 2;
        const rounding = 2 ** -10 * Math.max(-least, most);
        const errors = group.map((value, i) => Math.abs(rounded[first + i]! - value));
        const error = Math.max(...errors);
        assert(error <= half + rounding, `${error} of ${half} from ${first} on, ${cacheBits} bits`);
        // No more bits than asked for: of 32 numbers or fewer, some lie between two steps.
        assert(most === least || error > half / 8, `${error} of ${half}, ${cacheBits} bits`);
      }
    }
  });

  Deno.test(`sequences of fewer bits are copied, saved, put back and shortened as others on ${backend}`, async () => {
    const { small } = await embeddedModels(backend);
    for (const cacheBits of FEWER) {
      using session = new Session(small, { capacity: 64, sequences: 3, cacheBits });
      await session.prefill(TOKENS.slice(0, 40));
      await session.fork(0, [1]);
      using saved = await session.save(1);
      await session.restore(saved, 2);
      const decoded = await session.decode(5);
      assertEquals(decoded[1], decoded[0]);
      assertEquals(decoded[2], decoded[0]);
      const vectors = (sequence: number) =>
        readVectors(session.forward, { sequence, from: 0, to: 45 });
      const before = await vectors(0);
      assertEquals(await vectors(2), before);
      session.rewind(37);
      await session.prefill([...TOKENS.slice(37, 40), (await session.readTokens())[40]!]);
      assertEquals((await vectors(1)).length, before.length);
      assertEquals((await session.nextTokens())[0], decoded[0]![0]);
    }
  });

  Deno.test(`drafts of a small model of fewer bits change no token on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const prompt = TOKENS.slice(0, 110);
    for (const smallCacheBits of ["8/4", 4] as const) {
      const options = { maxNewTokens: 8, stopTokens: [], smallCacheBits };
      const tokens = async (more: { readonly speculative?: number }) => {
        const { sequences } = await generateAll(pair, prompt, { ...options, ...more });
        return sequences.map((one) => one.tokens);
      };
      assertEquals(await tokens({ speculative: 3 }), await tokens({}));
    }
  });
}

Deno.test("fewer bits do not go with a budget for the small model, nor with a policy that has none", async () => {
  const pair = await embeddedModels("reference");
  const open =
    (policy: string, more: { readonly smallBudget?: { readonly ratio: number } }) => () =>
      new PolicySession(pair, {
        policy: createPolicy(policy),
        budget: { ratio: 0.2 },
        capacity: 8,
        smallCacheBits: "8/4",
        ...more,
      });
  assertThrows(
    open("smallkv", { smallBudget: { ratio: 0.5 } }),
    RequirementError,
    "Cannot make the small model cheaper: it must keep its whole cache where numbers have fewer " +
      "than 16 bits: current it has a budget and 8/4 bits",
  );
  assertThrows(
    () => new Session(pair.small, { capacity: 8, cacheBits: 5 as CacheBits }),
    RequirementError,
    "bits of a number must be 16, 8, 8/4 or 4: current value is 5",
  );
  assertThrows(open("h2o", {}), RequirementError, "the policy must have one, as smallkv has");
  const setting = { policy: "smallkv", budget: { ratio: 0.2 } };
  const ofBits = (smallCacheBits: CacheBits) => ({ ...setting, smallCacheBits });
  const settings = [setting, ofBits(4), setting, ofBits("8/4"), ofBits(8)];
  assertEquals(settingBatches(settings, 8), [[0, 2], [1], [3], [4]]);
});
