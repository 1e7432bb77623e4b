/**
 * Invariants 1, 6, 8 and 15 of docs/method.md on pairs of random Gemma 3 models of two sizes: windows with a rotation of
 * their own, norms around attention and MLP and of heads, a scaled embedding, GELU.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { splitBudget } from "../../cache/budget.ts";
import { seededRandom } from "../../core/random.ts";
import type { Backend } from "../../gpu/device.ts";
import { configFromJson } from "../../models/config_json.ts";
import { loadModel, type Model } from "../../models/load.ts";
import { weightShapes } from "../../models/weights/tensor_check.ts";
import { largestDifference } from "../support/golden.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { encodeSafetensors, temporaryFolder, writeFiles } from "../support/model_writer.ts";
import { decodeUnder } from "./decode.ts";
import { type RandomPair, randomText, VOCABULARY } from "./random_pair.ts";

const POLICIES = ["h2o", "smallkv", "smallkv_query_aware"];
const WINDOW = 24;
const STEPS = 5;

/** One in three layers sees all tokens. */
const LARGE = {
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
};
const SMALL = { num_hidden_layers: 3, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8 };
const isFull = (layer: number) => layer % 3 === 2;

async function gemma(backend: Backend, seed: number, sizes: typeof LARGE): Promise<Model> {
  const values = {
    ...sizes,
    model_type: "gemma3_text",
    hidden_size: 24,
    intermediate_size: 40,
    vocab_size: VOCABULARY,
    max_position_embeddings: 512,
    sliding_window: WINDOW,
    sliding_window_pattern: 3,
    query_pre_attn_scalar: 8,
  };
  const config = configFromJson({ location: "config.json", values });
  const random = seededRandom(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const weights = [...weightShapes(config)].map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    // Norms of Gemma add 1 to their weights, and its embedding is multiplied by the root of its size.
    const scale = name.includes("norm")
      ? 0.2
      : name.includes("embed")
      ? 0.3
      : shape.at(-1)! ** -0.5;
    const content = Float32Array.from({ length }, () => scale * normal());
    return { name, type: "F32" as const, shape, bytes: new Uint8Array(content.buffer) };
  });
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, {
    "config.json": values,
    "model.safetensors": encodeSafetensors(weights),
  });
  return await loadModel(folder.path, { device: await testDevice(backend) });
}

async function gemmaPair(backend: Backend, seed: number): Promise<RandomPair> {
  using stack = new DisposableStack();
  const large = stack.use(await gemma(backend, seed, LARGE));
  const small = stack.use(await gemma(backend, seed + 1, SMALL));
  const owned = stack.move();
  return { large, small, [Symbol.dispose]: () => owned.dispose() };
}

/** Selections of layers that see all tokens, and those of layers with a window. */
function byKind<Item>(selections: readonly Item[]): { full: Item[]; windowed: Item[] } {
  const perLayer = selections.length / LARGE.num_hidden_layers;
  const sees = (group: number) => isFull(Math.floor(group / perLayer));
  return {
    full: selections.filter((_, group) => sees(group)),
    windowed: selections.filter((_, group) => !sees(group)),
  };
}

for (const backend of testBackends) {
  Deno.test(`1: on a pair of Gemma 3 models a budget of 1 gives the full cache, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1e6), fc.constantFrom(61, 97), async (seed, length) => {
        using pair = await gemmaPair(backend, seed);
        const request = { prompt: randomText(seed, length), steps: STEPS, budget: 1 };
        const full = await decodeUnder(pair, { ...request, policy: "full" });
        for (const policy of POLICIES) {
          const { chosen, logits } = await decodeUnder(pair, { ...request, policy });
          assertEquals(chosen, full.chosen, policy);
          logits.forEach((row, step) => {
            const error = largestDifference(row, full.logits[step]!);
            assert(error <= 1e-4, `${policy} is off by ${error}`);
          });
        }
      }),
      { numRuns: 3, seed: 1 },
    );
  });

  Deno.test(`6, 8, 15: on a pair of Gemma 3 models tiers keep to the budget, H2O's tokens do not return, and runs repeat, on ${backend}`, async () => {
    const choices = fc.record({
      seed: fc.nat(1e6),
      percent: fc.integer({ min: 10, max: 70 }),
      length: fc.integer({ min: 100, max: 160 }),
    });
    await fc.assert(
      fc.asyncProperty(choices, async ({ seed, percent, length }) => {
        using pair = await gemmaPair(backend, seed);
        const ratio = percent / 100;
        for (const policy of POLICIES) {
          const request = { policy, budget: ratio, prompt: randomText(seed, length), steps: STEPS };
          const run = await decodeUnder(pair, request);
          const again = await decodeUnder(pair, request);
          assertEquals(again.chosen, run.chosen, policy);
          assertEquals(again.selections, run.selections, policy);
          run.selections.forEach((selections, step) => {
            const tokens = length + step + 1;
            const { full, windowed } = byKind(selections);
            for (const one of windowed) {
              assertEquals([one.full.at(-1), one.valueOnly.length], [tokens - 1, 0]);
              assertEquals(tokens - one.full[0]!, one.full.length, `${policy} leaves gaps`);
            }
            if (policy === "h2o") return;
            const { critical, recent, marginal } = splitBudget({ ratio }, tokens);
            for (const one of full) {
              assertEquals([one.full.length, one.valueOnly.length], [critical + recent, marginal]);
              const all = [...one.full, ...one.valueOnly];
              assertEquals([new Set(all).size, one.full.at(-1)], [all.length, tokens - 1]);
            }
          });
          if (policy === "h2o") {
            noneReturns(run.after.map((kept) => byKind(kept).full), ratio, length);
          }
        }
      }),
      { numRuns: 3, seed: 6 },
    );
  });
}

/** H2O keeps its share, and what it has dropped stays dropped. */
function noneReturns(
  steps: readonly (readonly { readonly full: ArrayLike<number> }[])[],
  ratio: number,
  length: number,
): void {
  assertEquals(steps.length, STEPS);
  steps.forEach((groups, step) => {
    const tokens = length + step + 1;
    groups.forEach(({ full }, group) => {
      assert(full.length <= Math.max(1, Math.floor(ratio * tokens)), `${full.length} of ${tokens}`);
      const before = steps[step - 1]?.[group];
      if (before === undefined) return;
      const known = new Set([...Array.from(before.full), tokens - 1]);
      assert(Array.from(full).every((token) => known.has(token)), "a dropped token returned");
    });
  });
}
