/**
 * Keys that are stored without their center, against whole ones and against keys of 32 bits.
 *
 * @see docs/method.md, "Centered keys"
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { readsVectors } from "../../../cache/scores/score.ts";
import { Session } from "../../../decoding/session/session.ts";
import { readVectors } from "../../../decoding/session/vectors.ts";
import { klDivergence } from "../../../analysis/quality.ts";
import { mean } from "../../../core/stats.ts";
import { loadModel, type Model } from "../../../models/load.ts";
import { realModel } from "../../support/real_models.ts";
import { decodeUnder } from "../../invariants/decode.ts";
import {
  randomCases,
  randomModel,
  randomPair,
  type RandomShape,
  randomText,
  SHAPES,
} from "../../invariants/random_pair.ts";
import { largestDifference } from "../../support/golden.ts";
import { testBackends, testDevice } from "../../support/gpu.ts";

/** Biases as large as those of Qwen2.5. */
const LARGE: readonly RandomShape[] = SHAPES.filter(({ hasBias }) => hasBias)
  .map((shape) => ({ ...shape, largeKeyBias: 350 }));
const PROMPT = randomText(9, 120);

/** How a session stores keys: `whole` ones are rounded with their center. */
type Storage = "centered" | "whole" | "exact";

function sessionOf(model: Model, storage: Storage, capacity: number): Session {
  const { weights } = model;
  const layers = weights.layers.map(({ keyCenter: _, ...layer }) => layer);
  const stored = storage === "whole" ? { ...model, weights: { ...weights, layers } } : model;
  return new Session(stored, { capacity, isExact: storage === "exact" });
}

async function logitsOf(model: Model, storage: Storage, tokens = PROMPT): Promise<Float32Array> {
  using session = sessionOf(model, storage, tokens.length);
  const { vocabulary } = model.config;
  const rows = new Float32Array(tokens.length * vocabulary);
  let done = 0;
  await session.prefill(tokens, {
    logits: "all",
    onLogits(part) {
      rows.set(part, done);
      done += part.length;
    },
  });
  return rows;
}

for (const backend of testBackends) {
  Deno.test(`keys without their center give the logits of whole keys on ${backend}`, async () => {
    const shapes = SHAPES.filter(({ hasBias }) => hasBias);
    await fc.assert(
      fc.asyncProperty(randomCases(shapes), fc.integer({ min: 1, max: 90 }), async (one, count) => {
        using model = await randomModel(backend, one);
        const text = randomText(one.seed, count);
        const [centered, whole] = [
          await logitsOf(model, "centered", text),
          await logitsOf(model, "whole", text),
        ];
        const error = largestDifference(centered, whole);
        assert(error < 0.02, `${error}`);
      }),
      { numRuns: 8, seed: 3 },
    );
  });

  Deno.test(`large key biases cost little precision on ${backend}`, async () => {
    for (const [seed, shape] of LARGE.entries()) {
      using model = await randomModel(backend, { shape, seed });
      const exact = await logitsOf(model, "exact");
      const error = largestDifference(await logitsOf(model, "centered"), exact);
      const plain = largestDifference(await logitsOf(model, "whole"), exact);
      assert(error < 0.05 && plain > 8 * error, `${error}, and ${plain} with whole keys`);
    }
  });

  Deno.test(`readVectors() gives whole keys, nearly those of 32 bits, on ${backend}`, async () => {
    for (const [seed, shape] of LARGE.entries()) {
      using model = await randomModel(backend, { shape, seed });
      const vectors = async (storage: Storage) => {
        using session = sessionOf(model, storage, PROMPT.length);
        await session.prefill(PROMPT);
        return await readVectors(session.forward, { sequence: 0, from: 3, to: 90 });
      };
      const exact = await vectors("exact");
      assert(exact.reduce((most, value) => Math.max(most, value), 0) > 340);
      // Halves of 256 and more are 0.25 apart.
      const error = largestDifference(await vectors("centered"), exact);
      const plain = largestDifference(await vectors("whole"), exact);
      assert(error < 0.02 && plain > 0.12, `${error}, and ${plain} with whole keys`);
    }
  });

  Deno.test(`policies that read keys see whole ones, from either store, on ${backend}`, async () => {
    const reading = POLICIES.filter(({ score }) =>
      typeof score === "object" && readsVectors(score)
    );
    assert(reading.length >= 4);
    for (const { name } of reading) {
      using pair = await randomPair(backend, { shape: LARGE[0]!, seed: 11 });
      const request = { policy: name, prompt: PROMPT, steps: randomText(4, 6), budget: 0.2 };
      const [resident, tiered] = [
        await decodeUnder(pair, { ...request, store: "resident" }),
        await decodeUnder(pair, { ...request, store: "tiered" }),
      ];
      assertEquals(tiered.selections, resident.selections, name);
      assertEquals(tiered.logits, resident.logits, name);
    }
  });

  Deno.test(`a sequence begun elsewhere has the same center on ${backend}`, async () => {
    using model = await randomModel(backend, { shape: LARGE[0]!, seed: 2 });
    const next = async (session: Session, sequence: number) => {
      const rows: Float32Array[] = [];
      await session.prefill([5], { sequence, onLogits: (row) => rows.push(row.slice()) });
      return rows;
    };
    using first = sessionOf(model, "centered", 122);
    await first.prefill(PROMPT, { logits: "last" });
    using saved = await first.save(0);
    // Another capacity, another sequence, other chunks.
    using other = new Session(model, { capacity: 160, sequences: 3, chunk: 16 });
    await other.restore(saved, 1);
    await other.fork(1, [2]);
    const expected = await next(first, 0);
    assertEquals(await next(other, 1), expected);
    assertEquals(await next(other, 2), expected);
    using chunked = new Session(model, { capacity: 160, chunk: 16 });
    await chunked.prefill(PROMPT);
    const error = largestDifference((await next(chunked, 0))[0]!, expected[0]!);
    assert(error < 1e-3, `${error}`);
  });
}

Deno.test("sessions use the centers that were made with the weights", async () => {
  using model = await randomModel("cpu", { shape: LARGE[0]!, seed: 1 });
  const made = model.weights.layers.map(({ keyCenter }) => keyCenter!);
  using first = new Session(model, { capacity: 4 });
  using second = new Session(model, { capacity: 8, sequences: 2 });
  for (const { forward: { keyCenters } } of [first, second]) {
    assert(keyCenters!.every((center, layer) => center === made[layer]));
  }
});

Deno.test("a session of 32-bit keys, and a model without key biases, store keys as they are", async () => {
  using biased = await randomModel("reference", { shape: LARGE[0]!, seed: 1 });
  using exact = new Session(biased, { capacity: 4, isExact: true });
  assertEquals(exact.forward.keyCenters, undefined);
  using plain = await randomModel("reference", { shape: SHAPES[1]!, seed: 1 });
  using session = new Session(plain, { capacity: 4 });
  assertEquals(session.forward.keyCenters, [undefined, undefined]);
});

const FILE = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const path = realModel(FILE);

Deno.test({
  name: `16-bit caches of ${FILE} predict what 32-bit ones do, better than with whole keys`,
  ignore: path === undefined,
  async fn() {
    using model = await loadModel(path!, { device: await testDevice("cpu") });
    const text = Deno.readTextFileSync(new URL("../../../CONTRIBUTING.md", import.meta.url));
    const tokens = model.tokenizer!.encode(text).slice(0, 64);
    const { vocabulary } = model.config;
    const exact = await logitsOf(model, "exact", tokens);
    const divergence = async (storage: Storage) => {
      const logits = await logitsOf(model, storage, tokens);
      const row = (all: Float32Array, k: number) =>
        all.subarray(k * vocabulary, (k + 1) * vocabulary);
      return mean(tokens.map((_, k) => klDivergence(row(exact, k), row(logits, k))));
    };
    const [centered, plain] = [await divergence("centered"), await divergence("whole")];
    assert(centered < 6e-7 && plain > 8 * centered, `${centered}, and ${plain} with whole keys`);
  },
});
