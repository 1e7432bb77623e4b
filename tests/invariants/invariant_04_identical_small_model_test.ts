import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { matchHeads } from "../../analysis/head_match.ts";
import { splitBudget } from "../../cache/budget.ts";
import { seededRandom } from "../../core/random.ts";
import { Session } from "../../decoding/session/session.ts";
import { assertClose } from "../support/assert_close.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { attend, randomCall, softmaxRows, weightedValues } from "./attend.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomModel, randomText } from "./random_pair.ts";

/** Invariant 4 of docs/method.md: a model is its own best small model. */

/** Rounding of sums of attention, as a share of the largest. */
const SUM_ERROR = 1e-5;
/** Rounding of rows that are predicted from heads that are nearly alike. */
const FIT_ERROR = 1e-3;

for (const backend of testBackends) {
  Deno.test(`4: every head of a model matches itself with similarity 1, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(randomCases(), fc.integer({ min: 100, max: 200 }), async (one, tokens) => {
        using model = await randomModel(backend, one);
        const sums = async () => {
          using session = new Session(model, { capacity: tokens, accumulate: true });
          await session.prefill(randomText(one.seed, tokens), { logits: "none" });
          return await session.accumulated();
        };
        const large = { ...model.config, tokens, accumulated: await sums() };
        const small = { ...model.config, tokens, accumulated: await sums() };
        assertEquals(small.accumulated, large.accumulated, "the small model's sums are your own");
        const { match, similarity, cosine } = matchHeads(large, small);
        assertEquals([...match], Array.from(match, (_, head) => head));
        assert(similarity.every((value) => value === 1));
        assert(cosine.every((value) => Math.abs(value - 1) < 1e-12));
      }),
      { numRuns: 4, seed: 4 },
    );
  });

  Deno.test(`4: joint with the head's own row equals exact attention to full and marginal tokens, on ${backend}`, async () => {
    const device = await testDevice(backend);
    const shapes = fc.record({
      kvHeads: fc.integer({ min: 1, max: 2 }),
      group: fc.constantFrom(1, 2, 3),
      headDim: fc.constantFrom(8, 16),
      tokens: fc.integer({ min: 2, max: 120 }),
    });
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(1e6), async (shape, seed) => {
        const call = randomCall(seededRandom(seed), shape);
        const all = Array.from({ length: call.tokens }, (_, token) => token);
        call.small.set(softmaxRows(call, all).flatMap((row) => [...row]));
        const expected = weightedValues(call, softmaxRows(call, [...call.kept, ...call.marginal]));
        for (const mode of ["joint", "joint_nosink"] as const) {
          const isSinkOnly = call.kept.every((token) => token < 4);
          if (mode === "joint_nosink" && isSinkOnly) continue;
          const actual = await attend(device, call, mode);
          assertClose(actual, expected, { terms: call.headDim + call.tokens, magnitude: 2 });
        }
      }),
      { numRuns: 25, seed: 4 },
    );
  });

  Deno.test(`4: a model that is its own small model selects by the global view of its full cache, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(0.1, 0.3, 0.7),
        async (one, ratio) => {
          using model = await randomModel(backend, one);
          const prompt = randomText(one.seed, 120);
          const next = randomText(one.seed + 1, 1);
          const { selections: [groups] } = await decodeUnder({ large: model, small: model }, {
            policy: "smallkv",
            options: { granularity: "query_head" },
            budget: ratio,
            prompt,
            steps: next,
          });
          const tokens = prompt.length + 1;
          using session = new Session(model, { capacity: tokens, accumulate: true });
          await session.prefill([...prompt, ...next], { logits: "none" });
          const sums = await session.accumulated();
          groups!.forEach(({ full, valueOnly }, head) => {
            const scores = sums.subarray(head * tokens, (head + 1) * tokens);
            const counts = splitBudget({ ratio }, tokens);
            const open = tokens - counts.recent;
            const critical = [...full].slice(0, counts.critical);
            checkTop(scores, { open, chosen: critical });
            checkTop(scores, { open, chosen: [...critical, ...valueOnly] });
            assertEquals(valueOnly.length, counts.marginal);
          });
        },
      ),
      { numRuns: 4, seed: 4 },
    );
  });
}

for (const backend of testBackends) {
  Deno.test(`4: a model that is its own small model is fitted by its own heads, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        randomCases(),
        fc.constantFrom(0.1, 0.3),
        async (one, ratio) => {
          using model = await randomModel(backend, one);
          const prompt = randomText(one.seed, 120);
          const next = randomText(one.seed + 1, 1);
          const { selections: [groups] } = await decodeUnder({ large: model, small: model }, {
            policy: "smallkv",
            options: { score: "row" },
            match: { by: "fitted", fitHeads: 64, fitRidge: 0 },
            budget: ratio,
            prompt,
            steps: next,
          });
          const tokens = prompt.length + 1;
          const { kvHeads, queryHeads, layers } = model.config;
          const rows = new Float32Array(layers * kvHeads * tokens);
          using session = new Session(model, { capacity: tokens });
          await session.prefill(prompt, { logits: "none" });
          await session.prefill(next, {
            logits: "none",
            heads: () => Array.from({ length: queryHeads }, (_, head) => head),
            onMap({ layer, head, values }) {
              const group = Math.floor((layer * queryHeads + head) * kvHeads / queryHeads);
              values.forEach((value, token) =>
                rows[group * tokens + token]! += value * kvHeads / queryHeads
              );
            },
          });
          groups!.forEach(({ full }, group) => {
            const scores = rows.subarray(group * tokens, (group + 1) * tokens);
            const { critical, recent } = splitBudget({ ratio }, tokens);
            const chosen = [...full].slice(0, critical);
            checkTop(scores, { open: tokens - recent, chosen, error: FIT_ERROR });
          });
        },
      ),
      { numRuns: 4, seed: 4 },
    );
  });
}

/** Throws unless no token that was left out scores more than one that was chosen. */
function checkTop(
  scores: Float32Array,
  { open, chosen, error = SUM_ERROR }: {
    readonly open: number;
    readonly chosen: readonly number[];
    readonly error?: number;
  },
): void {
  const others = Array.from({ length: open }, (_, token) => token)
    .filter((token) => !chosen.includes(token));
  const least = Math.min(...chosen.map((token) => scores[token]!));
  const most = Math.max(...others.map((token) => scores[token]!));
  const allowed = error * Math.max(...scores);
  assert(chosen.every((token) => token < open) && most <= least + allowed, `${most} over ${least}`);
}
