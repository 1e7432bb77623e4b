/**
 * Tests of `kernels/marginal.ts`: the worked example of docs/method.md, and properties that decide between the ways.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  combineMarginal,
  MARGINAL_MODES,
  marginalFactors,
  type MarginalMode,
} from "../../kernels/marginal.ts";

/** One query head: logits, values, and the small model's row. */
interface Example {
  readonly logits: readonly number[];
  readonly values: readonly number[];
  readonly small: readonly number[];
  readonly kept: readonly number[];
  readonly marginal: readonly number[];
  readonly sinks?: readonly number[];
}

const GOLDEN: Example = {
  logits: [2, 1, 0, -1, 0.5, 1.5],
  values: [1, 2, 3, 4, 5, 6],
  small: [0.42, 0.12, 0.08, 0.03, 0.10, 0.25],
  kept: [0, 1, 5],
  marginal: [4, 2],
};

function softmax(example: Example, tokens: readonly number[]): number[] {
  const exponentials = tokens.map((token) => Math.exp(example.logits[token]!));
  const sum = exponentials.reduce((left, right) => left + right, 0);
  return exponentials.map((exponential) => exponential / sum);
}

function weighted(values: readonly number[], weights: readonly number[]): number {
  return values.reduce((sum, value, i) => sum + value * weights[i]!, 0);
}

function pick(values: readonly number[], tokens: readonly number[]): number[] {
  return tokens.map((token) => values[token]!);
}

function combine(mode: MarginalMode, example: Example): number {
  const { values, small, kept, marginal, sinks = [] } = example;
  const attention = softmax(example, kept);
  const full = softmax(example, values.map((_, token) => token));
  const total = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0);
  return combineMarginal(mode, {
    kept: [weighted(pick(values, kept), attention)],
    marginal: [weighted(pick(values, marginal), pick(small, marginal))],
    masses: {
      marginalTokens: marginal.length,
      kept: total(pick(small, kept)),
      marginal: total(pick(small, marginal)),
      sinks: total(pick(small, sinks)),
      largeSinks: total(attention.filter((_, i) => sinks.includes(kept[i]!))),
      largeKept: total(pick(full, kept)),
    },
  })[0]!;
}

function restricted(example: Example): number {
  const tokens = [...example.kept, ...example.marginal];
  return weighted(pick(example.values, tokens), softmax(example, tokens));
}

function assertNear(actual: number, expected: number, tolerance = 5e-7): void {
  assert(Math.abs(actual - expected) <= tolerance, `${actual} must be near ${expected}`);
}

const GOLDEN_OUTPUTS: readonly [MarginalMode, number][] = [
  ["additive", 3.462303],
  ["mass_split", 2.972289],
  ["joint", 2.980020],
  ["eq6_est", 2.890619],
  ["oracle_eq6", 2.995856],
];

const IDENTICAL_OUTPUTS: readonly [MarginalMode, number][] = [
  ["additive", 3.360940],
  ["mass_split", 2.951377],
  ["joint", 2.956266],
  ["eq6_est", 2.894493],
  ["joint_nosink", 2.956266],
];

Deno.test("combineMarginal() gives the outputs of the worked example", () => {
  assertNear(weighted(pick(GOLDEN.values, GOLDEN.kept), softmax(GOLDEN, GOLDEN.kept)), 2.722303);
  assertNear(restricted(GOLDEN), 2.956266);
  for (const [mode, output] of GOLDEN_OUTPUTS) assertNear(combine(mode, GOLDEN), output);
});

Deno.test("combineMarginal() gives the outputs of the worked example with an identical small model", () => {
  const small = softmax(GOLDEN, [0, 1, 2, 3, 4, 5]);
  for (const [mode, output] of IDENTICAL_OUTPUTS) {
    assertNear(combine(mode, { ...GOLDEN, small, sinks: [0] }), output);
  }
});

Deno.test("combineMarginal() with joint_nosink is one softmax with calibrated logits of marginal tokens", () => {
  const example = { ...GOLDEN, sinks: [0] };
  const { logits, values, small } = example;
  const others = [1, 5];
  const logSum = Math.log(others.reduce((sum, token) => sum + Math.exp(logits[token]!), 0));
  const mass = others.reduce((sum, token) => sum + small[token]!, 0);
  const exponents = [0, 1, 5].map((token) => logits[token]!);
  for (const token of [4, 2]) exponents.push(Math.log(small[token]!) + logSum - Math.log(mass));
  const weights = exponents.map(Math.exp);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const expected = weighted(pick(values, [0, 1, 5, 4, 2]), weights) / total;
  assertNear(combine("joint_nosink", example), expected, 1e-12);
});

Deno.test("combineMarginal() with joint equals exact attention to kept and marginal tokens if the small model is the model", () =>
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.double({ min: -8, max: 8, noNaN: true }), fc.integer({ min: 0, max: 2 })),
        {
          minLength: 4,
          maxLength: 40,
        },
      ),
      (tokens) => {
        const logits = tokens.map(([logit]) => logit);
        const roles = tokens.map(([, role], i) => i === tokens.length - 1 ? 0 : role);
        const example = {
          logits,
          values: logits.map((_, i) => Math.sin(i)),
          small: softmax({ ...GOLDEN, logits }, logits.map((_, i) => i)),
          kept: roles.flatMap((role, i) => role === 0 ? [i] : []),
          marginal: roles.flatMap((role, i) => role === 1 ? [i] : []),
        };
        const masses = pick(example.small, example.kept);
        fc.pre(masses.reduce((sum, mass) => sum + mass, 0) > 1e-5);
        assertNear(combine("joint", example), restricted(example), 1e-9);
        assertNear(combine("joint_nosink", example), restricted(example), 1e-9);
      },
    ),
    { seed: 3, numRuns: 200 },
  ));

Deno.test("marginalFactors() leave exact attention alone without marginal tokens or without mass", () => {
  for (const mode of MARGINAL_MODES) {
    const none = { marginalTokens: 0, kept: 0.4, marginal: 0 };
    assertEquals(marginalFactors(mode, none), { kept: 1, marginal: 0 });
    const tiny = { marginalTokens: 3, kept: 4e-7, marginal: 5e-7 };
    assertEquals(marginalFactors(mode, tiny), { kept: 1, marginal: 0 });
  }
  const sinksOnly = { marginalTokens: 3, kept: 0.4, marginal: 0.1, sinks: 0.4 };
  assertEquals(marginalFactors("joint_nosink", sinksOnly), { kept: 1, marginal: 0 });
});
