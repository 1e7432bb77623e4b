/**
 * Small models that run fewer layers, or all of them with all of their tokens.
 *
 * @module
 */

import fc from "fast-check";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { GpuError, RequirementError } from "../../../core/check.ts";
import { checkCut } from "../../../decoding/engine/checks.ts";
import type { SmallModelCut } from "../../../decoding/scoring/small_model.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { Device } from "../../../gpu/device.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu, testBackends } from "../../support/gpu.ts";
import { observed, partsOf } from "../../support/observed_model.ts";
import { decode, tokensOf } from "../engine/small_runs.ts";

/** Back end for tests that do not depend on the device. */
const BACKEND = hasGpu ? gpuBackend : "reference";

function largestDifference(first: readonly Float32Array[], second: readonly Float32Array[]) {
  let most = 0;
  first.forEach((row, step) =>
    row.forEach((value, i) => most = Math.max(most, Math.abs(value - second[step]![i]!)))
  );
  return most;
}

const randomRun = () =>
  fc.record({
    prompt: fc.integer({ min: 90, max: 160 }),
    steps: fc.integer({ min: 1, max: 12 }),
    shift: fc.nat(200),
    score: fc.constantFrom<PolicyOptions["score"]>("accumulated", "decayed", "row"),
  });

for (const backend of testBackends) {
  const numRuns = backend === gpuBackend ? 6 : 1;

  Deno.test(`a small model with the whole budget decodes as one without a budget on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    await fc.assert(
      fc.asyncProperty(randomRun(), async (sizes) => {
        const run = { tokens: tokensOf(sizes), steps: sizes.steps, score: sizes.score };
        const whole = await decode(pair, run);
        const compressed = await decode(pair, { ...run, cut: { smallBudget: { ratio: 1 } } });
        assertEquals(compressed.selections, whole.selections);
        assert(largestDifference(whole.logits, compressed.logits) < 1e-3);
        assertEquals(compressed.memory, whole.memory);
      }),
      { numRuns, seed: 5 },
    );
  });

  Deno.test(`a small model with all of its layers gives the bits of the whole small model on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const run = { tokens: someTokens(126), steps: 5 };
    const cut = { smallLayers: pair.small.config.layers };
    assertEquals(await decode(pair, { ...run, cut }), await decode(pair, run));
  });

  Deno.test(`a small model that stops early gives the bits of a whole one that is matched no deeper on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const { queryHeads, layers } = pair.small.config;
    for (let smallLayers = 1; smallLayers < layers; smallLayers++) {
      const allowedHeads = Array.from({ length: smallLayers * queryHeads }, (_, head) => head);
      const run = { tokens: someTokens(131), steps: 4 };
      const early = await decode(pair, { ...run, cut: { smallLayers } });
      const whole = await decode(pair, { ...run, match: { allowedHeads } });
      assertEquals(early.logits, whole.logits);
      assertEquals(early.selections, whole.selections);
      // The last layer that runs holds keys alone.
      const share = (smallLayers - 0.5) / layers;
      assertEquals(early.memory.smallCacheBytes, share * whole.memory.smallCacheBytes);
      assertEquals(early.memory.smallCacheBytesIdeal, share * whole.memory.smallCacheBytesIdeal);
    }
  });
}

Deno.test("a small model that stops early runs only its first layers, and computes no logits", async () => {
  const { large, small } = await embeddedModels(BACKEND);
  for (const cut of [{ smallLayers: 2 }, { smallLayers: 1, smallBudget: { ratio: 0.4 } }]) {
    const { model, commands } = observed(small);
    await decode({ large, small: model }, { tokens: someTokens(121), steps: 1, cut });
    const later = new Set(partsOf(small.weights.layers.slice(cut.smallLayers)));
    const used = commands.flatMap((command) =>
      "kernel" in command ? Object.values(command.buffers) : []
    ).map((buffer) => "buffer" in buffer ? buffer.buffer : buffer);
    const last = small.weights.layers[cut.smallLayers - 1]!;
    const { output, mlpNorm, gateUp, down } = last;
    const unread = new Set(partsOf({ output, mlpNorm, gateUp, down }));
    assert(used.some((buffer) => [...partsOf(last)].includes(buffer)));
    assert(!used.some((buffer) => later.has(buffer)));
    assert(!used.some((buffer) => unread.has(buffer)), "the last layer ends after its attention");
    const hasValues = used.some(({ label }) => label === `values of layer ${cut.smallLayers - 1}`);
    assertEquals(hasValues, "smallBudget" in cut);
    assert(!used.some(({ label }) => label.startsWith("logits")));
  }
});

Deno.test("a small model whose first step could not be recorded runs it when it is tried again", async () => {
  const { large, small } = await embeddedModels(BACKEND);
  const tokens = someTokens(122);
  for (const cut of [{}, { smallBudget: { ratio: 0.4 } }]) {
    let failures = 1;
    const device = new Proxy(small.device, {
      get(target, name) {
        if (name === "record") {
          return (label: string, commands: Parameters<Device["record"]>[1]) =>
            label === "small model's step" && failures-- > 0
              ? Promise.reject(new GpuError("Cannot record: current value is none"))
              : target.record(label, commands);
        }
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    using session = new PolicySession({ large, small: { ...small, device } }, {
      policy: createPolicy("smallkv"),
      budget: { ratio: 0.2 },
      capacity: 128,
      ...cut,
    });
    await session.prefill(tokens.slice(0, 120));
    const step = () => session.step({ tokens: tokens.slice(120, 121), logits: true });
    await assertRejects(step, GpuError);
    const { logits } = await step();
    const expected = await decode({ large, small }, {
      tokens: tokens.slice(0, 121),
      steps: 1,
      cut,
    });
    assertEquals<unknown>([logits], expected.logits);
  }
});

Deno.test("a small model cannot be cut to nothing, or where there is none", async () => {
  const { large, small } = await embeddedModels("reference");
  const open = (name: string, cut: SmallModelCut) => () =>
    new PolicySession({ large, small }, {
      policy: createPolicy(name),
      budget: { ratio: 0.2 },
      capacity: 8,
      ...cut,
    });
  assertThrows(
    open("smallkv", { smallLayers: 0 }),
    Error,
    "layers that run must be an integer from 1 to 3: current value is 0",
  );
  assertThrows(open("smallkv", { smallLayers: 4 }), Error, "from 1 to 3: current value is 4");
  assertThrows(open("smallkv", { smallBudget: { ratio: 0 } }), Error, "above 0 and at most 1");
  assertMatch(
    assertThrows(open("smallkv", { smallBudget: { ratio: 1.5 } }), Error).message,
    /current value is 1.5/,
  );
  assertThrows(
    open("smallkv", { smallBudget: { tokens: 0 } }),
    Error,
    "tokens must be an integer",
  );
  assertThrows(
    open("h2o", { smallLayers: 2 }),
    Error,
    "the policy must have one, as smallkv has: current policy is h2o",
  );
  assertThrows(open("full", { smallBudget: { ratio: 0.5 } }), RequirementError);
  checkCut([{ policy: createPolicy("h2o") }], {});
  const setting = { policy: createPolicy("smallkv"), budget: { ratio: 0.2 } };
  const settings = [setting, { ...setting, smallBudget: { ratio: 0.4 } }];
  assertThrows(
    () => new PolicySession({ large, small }, { settings, capacity: 8 }),
    Error,
    "sequences must have one kind of small model: current values are whole, compressed",
  );
});
