/**
 * Policies on models in which layers attend to a window only.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { fullLayerBudget, withWindows } from "../../../cache/windowed_layers.ts";
import { matchText, type PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { stepCost } from "../../../decoding/selection/cost.ts";
import { tierCounter } from "../../../decoding/selection/tiers.ts";
import type { LayerAttention } from "../../../models/config.ts";
import type { Model } from "../../../models/load.ts";
import { decodeUnder } from "../../invariants/decode.ts";
import { type RandomPair, randomPair, randomText } from "../../invariants/random_pair.ts";
import { assertClose } from "../../support/assert_close.ts";
import { gpuBackend, testBackends } from "../../support/gpu.ts";

const SHAPE = { layers: 3, kvHeads: 2, group: 2, headDim: 8, hasBias: true };
const WINDOW = 30;
/** Rows of a prefill step: few, so that layers with a window hold 64 tokens. */
const CHUNK = 16;
const PROMPT = randomText(3, 130);
const STEPS = 8;

function withRules(model: Model, layerAttention: readonly LayerAttention[]): Model {
  return { ...model, config: { ...model.config, layerAttention } };
}

/** A pair whose large model has windows in its first and last layer, and the small one in its first. */
async function windowedPair(backend: (typeof testBackends)[number]): Promise<RandomPair> {
  const pair = await randomPair(backend, { shape: SHAPE, seed: 4 });
  return {
    ...pair,
    large: withRules(pair.large, [{ window: WINDOW }, {}, { window: WINDOW }]),
    small: withRules(pair.small, [{ window: WINDOW }, {}]),
    [Symbol.dispose]: () => pair[Symbol.dispose](),
  };
}

/** Policies that drop tokens and treat layers apart. */
const DROPPING = POLICIES.filter(({ name, prune }) => name !== "full" && prune === undefined)
  .map(({ name }) => name);

for (const backend of testBackends) {
  Deno.test(`every policy keeps what layers with a window see, and spends its budget on the others, on ${backend}`, async () => {
    using pair = await windowedPair(backend);
    const names = backend === gpuBackend ? DROPPING : ["h2o", "smallkv"];
    for (const policy of names) {
      const budget = 0.3;
      const request = { policy, budget, prompt: PROMPT, steps: STEPS, chunk: CHUNK };
      const run = await decodeUnder(pair, request);
      const adapted = withWindows(createPolicy(policy), [WINDOW, undefined, WINDOW]);
      run.selections.forEach((selections, step) => {
        const tokens = PROMPT.length + step + 1;
        const perLayer = selections.length / SHAPE.layers;
        selections.forEach(({ full, valueOnly }, group) => {
          if (Math.floor(group / perLayer) === 1) return;
          assertEquals(valueOnly.length, 0);
          // Policies that choose after a step, or not at every one, see newer tokens beside the chosen ones.
          assertEquals(full.at(-1), tokens - 1);
          const isFirst = full.length === tokens;
          assert(isFirst || full.length >= WINDOW && full.length < WINDOW + 17, `${policy}`);
          assertEquals(full.at(-1)! - full[0]! + 1, full.length, `${policy} leaves gaps`);
        });
        const { held } = stepCost(undefined, selections, tokens, adapted);
        assert(step === 0 || held <= budget + 0.15, `${policy} holds ${held} at step ${step}`);
      });
    }
  });

  Deno.test(`the whole budget loses nothing, though layers with a window drop what they do not see, on ${backend}`, async () => {
    using pair = await windowedPair(backend);
    const steps = randomText(9, STEPS);
    const full = await decodeUnder(pair, { policy: "full", budget: 1, prompt: PROMPT, steps });
    for (const policy of ["full", "h2o", "smallkv", "smallkv_query_aware"]) {
      for (const store of ["resident", "tiered"] as const) {
        const request = { policy, budget: 1, prompt: PROMPT, steps, store, chunk: CHUNK };
        const run = await decodeUnder(pair, request);
        run.logits.forEach((logits, step) =>
          assertClose(logits, full.logits[step]!, { terms: 4000, magnitude: 4 })
        );
        if (policy !== "full") assert(run.selections.at(-1)![0]!.full.length <= WINDOW + 1);
        assertEquals(run.selections.at(-1)![2]!.full.length, PROMPT.length + STEPS);
      }
    }
  });
}

Deno.test("a tiered store holds no more of a layer with a window than the window and what is newer", async () => {
  const [backend] = testBackends;
  const bytes = async (prompt: readonly number[]) => {
    using pair = await windowedPair(backend!);
    const run = await decodeUnder(pair, {
      policy: "streaming",
      budget: { tokens: 40 },
      prompt,
      steps: 2,
      store: "tiered",
    });
    return run.memory.largeCacheBytes;
  };
  assertEquals(await bytes(randomText(3, 300)), await bytes(PROMPT));
});

Deno.test("a budget that counts layers with a window gives the others what is left", async () => {
  using pair = await windowedPair(testBackends[0]!);
  const prompt = randomText(3, 200);
  const options = { windowed: "counted" } as const;
  const run = await decodeUnder(pair, { policy: "h2o", options, budget: 0.4, prompt, steps: 4 });
  const policy = withWindows(createPolicy("h2o", options), [WINDOW, undefined, WINDOW]);
  const tokens = prompt.length + 4;
  const left = fullLayerBudget(policy, {
    budget: { ratio: 0.4 },
    tokens,
    promptTokens: prompt.length,
  });
  assertEquals(left, { ratio: (0.4 * (tokens + 2 * WINDOW) - 2 * WINDOW) / tokens });
  const cost = stepCost(undefined, run.selections.at(-1)!, tokens, policy);
  assert(cost.held <= 0.4 + 3 / 200, `holds ${cost.held}`);
  await assertRejects(
    () => decodeUnder(pair, { policy: "h2o", options, budget: 0.1, prompt, steps: 4 }),
    RequirementError,
    "with windowed counted, the budget must exceed the 60 tokens of the 2 layers with a window",
  );
});

Deno.test("withWindows() counts full layers by themselves, and leaves models of one kind of layer alone", () => {
  const plain = createPolicy("h2o");
  assertEquals(withWindows(plain, [WINDOW, WINDOW]), plain);
  assertEquals(withWindows(plain, [undefined, undefined]), plain);
  const request = { budget: { ratio: 0.5 }, tokens: 200, promptTokens: 200, layers: 3 } as const;
  const pyramid = createPolicy("pyramid_budget");
  const adapted = withWindows(pyramid, [undefined, WINDOW, undefined]);
  assertEquals(
    adapted.counts({ ...request, layer: 2 }),
    pyramid.counts({ ...request, layer: 1, layers: 2 }),
  );
  assertEquals(adapted.counts({ ...request, layer: 1 }).recent, WINDOW);
});

Deno.test("tierCounter() counts the layers that a budget is for", async () => {
  using pair = await windowedPair(testBackends[0]!);
  const { selections } = await decodeUnder(pair, {
    policy: "smallkv",
    budget: 0.2,
    prompt: PROMPT,
    steps: 2,
  });
  const setting = {
    policy: createPolicy("smallkv"),
    budget: { ratio: 0.2 },
    config: pair.large.config,
  };
  const tokens = PROMPT.length + 2;
  const sizes = tierCounter(setting)(selections[1]!, { tokens, promptTokens: PROMPT.length });
  const { recent, critical, marginal } = setting.policy.counts({
    budget: setting.budget,
    tokens,
    promptTokens: PROMPT.length,
    layer: 0,
    layers: 1,
  });
  assertEquals([sizes.recent, sizes.critical, sizes.marginal], [recent, critical, marginal]);
});

Deno.test("heads are matched with those of small layers that see all tokens, unless told otherwise", async () => {
  using pair = await windowedPair(testBackends[0]!);
  const policies = [createPolicy("smallkv")];
  const matched = async (
    match: PairMatchOptions,
  ) => [...(await matchText({ ...pair, match }, PROMPT, { policies })).get("head")!];
  const { queryHeads } = pair.small.config;
  assert((await matched({})).every((head) => head >= queryHeads));
  const any = await matched({ layers: "any" });
  assert(any.some((head) => head < queryHeads));
  const first = Array.from({ length: queryHeads }, (_, head) => head);
  assert((await matched({ allowedHeads: first })).every((head) => head < queryHeads));
});
