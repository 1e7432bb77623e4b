import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../../core/check.ts";
import {
  checkSampling,
  Sampler,
  type SamplingOptions,
  samplingProbabilities,
} from "../../../decoding/text/sampling.ts";
import golden from "../../fixtures/sampling.json" with { type: "json" };

Deno.test("samplingProbabilities() keeps what transformers' logits warpers keep", () => {
  for (const { row, choices, kept, probabilities } of golden.cases) {
    const logits = Float32Array.from(golden.rows[row]!);
    const actual = samplingProbabilities(logits, choices);
    const name = `row ${row}, ${JSON.stringify(choices)}`;
    assertEquals([...actual.keys()].filter((id) => actual[id]! > 0), kept, name);
    kept.forEach((id, index) =>
      assert(Math.abs(actual[id]! - probabilities[index]!) < 1e-11, `${name}: token ${id}`)
    );
  }
});

Deno.test("samplingProbabilities() of equal logits drops the first tokens", () => {
  const four = Float32Array.of(1, 1, 1, 1);
  assertEquals([...samplingProbabilities(four, { topP: 0.5 })], [0, 0, 0.5, 0.5]);
  assertEquals([...samplingProbabilities(four, { topP: 1e-20 })], [0, 0, 0, 1]);
});

Deno.test("Sampler draws tokens as often as their probabilities say", () => {
  const logits = Float32Array.from(golden.rows[1]!);
  for (const options of [{}, { temperature: 0.8, topK: 10, topP: 0.9 }, { topP: 0.5 }]) {
    const draws = 20_000;
    const counts = new Float64Array(logits.length);
    const sampler = new Sampler({ ...options, seed: 3 });
    for (let draw = 0; draw < draws; draw++) counts[sampler.choose(logits)]!++;
    const probabilities = samplingProbabilities(logits, options);
    probabilities.forEach((probability, id) => {
      const deviation = Math.sqrt(draws * probability * (1 - probability));
      const difference = Math.abs(counts[id]! - draws * probability);
      assert(difference <= 4.5 * deviation, `token ${id}: ${counts[id]} of ${draws}`);
      if (probability === 0) assertEquals(counts[id], 0);
    });
  }
});

Deno.test("Sampler takes the likeliest token at top-k 1, at temperature 0 and near it", () => {
  const row = fc.float32Array({
    minLength: 2,
    maxLength: 40,
    noNaN: true,
    noDefaultInfinity: true,
  });
  fc.assert(
    fc.property(row, (logits) => {
      const greedy = logits.indexOf(Math.max(...logits));
      const choose = (options: SamplingOptions) => new Sampler(options).choose(logits);
      assertEquals(choose({ temperature: 0 }), greedy);
      if (logits.indexOf(logits[greedy]!, greedy + 1) >= 0) return;
      assertEquals(choose({ topK: 1, temperature: 3 }), greedy);
      assertEquals(choose({ temperature: 1e-300 }), greedy);
    }),
    { seed: 5, numRuns: 200 },
  );
});

Deno.test("Sampler repeats its draws for a seed", () => {
  const logits = new Float32Array(50);
  const draws = (seed: number) => {
    const sampler = new Sampler({ seed });
    return Array.from({ length: 20 }, () => sampler.choose(logits));
  };
  assertEquals(draws(7), draws(7));
  assert(draws(7).join() !== draws(8).join());
});

Deno.test("checkSampling() names what is out of range", () => {
  for (
    const [options, message] of [
      [
        { temperature: -1 },
        "temperature must be a finite number of at least 0: current value is -1",
      ],
      [{ temperature: NaN }, "temperature must be a finite number"],
      [{ topP: 0 }, "topP must be above 0 and at most 1: current value is 0"],
      [{ topP: 1.1 }, "topP must be above 0 and at most 1"],
      [{ topK: 0 }, "topK must be an integer of at least 1: current value is 0"],
      [{ topK: 1.5 }, "topK must be an integer"],
      [{ seed: 0.5 }, "seed must be an integer: current value is 0.5"],
    ] as const
  ) assertThrows(() => checkSampling(options), RequirementError, message);
});
