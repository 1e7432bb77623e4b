import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  klDivergence,
  stepQuality,
  summarizeQuality,
  topOneAgreement,
} from "../../analysis/quality.ts";
import {
  compareTexts,
  firstDivergence,
  newWords,
  repeatedShare,
  tokenAgreement,
} from "../../analysis/quality_text.ts";
import { RequirementError } from "../../core/check.ts";

const close = (actual: number, expected: number, allowance = 1e-12) =>
  assert(Math.abs(actual - expected) <= allowance, `${actual} is not ${expected}`);

Deno.test("klDivergence() gives values computed by hand", () => {
  // p = (1/2, 1/2), q = (1/4, 3/4): ln 2 / 2 + ln(2/3) / 2
  close(klDivergence([0, 0], [0, Math.log(3)]), 0.5 * Math.log(4 / 3));
  // p = (1/4, 3/4), q = (1/2, 1/2)
  close(klDivergence([0, Math.log(3)], [5, 5]), 0.75 * Math.log(3) - Math.log(2));
  // p = (0.7, 0.2, 0.1), q = (0.1, 0.2, 0.7)
  const logs = [0.7, 0.2, 0.1].map(Math.log);
  close(klDivergence(logs, logs.toReversed()), 0.6 * Math.log(7));
});

Deno.test("klDivergence() stays finite where a float32 softmax would not", () => {
  close(klDivergence([0, 0], [0, 1000]), 500 - Math.LN2);
  close(klDivergence([1e30, 0], [1e30, 0]), 0);
  close(klDivergence([0, -2000], [0, 0]), Math.LN2);
});

Deno.test("klDivergence() is 0 for equal distributions, never negative, blind to a shift", () => {
  const row = fc.array(fc.double({ min: -30, max: 30, noNaN: true }), {
    minLength: 2,
    maxLength: 40,
  });
  fc.assert(
    fc.property(row, row, fc.double({ min: -50, max: 50, noNaN: true }), (a, b, shift) => {
      const length = Math.min(a.length, b.length);
      const [left, right] = [a.slice(0, length), b.slice(0, length)];
      const divergence = klDivergence(left, right);
      assert(divergence >= 0);
      close(klDivergence(left, left), 0);
      const shifted = right.map((value) => value + shift);
      close(klDivergence(left, shifted), divergence, 1e-10 * (1 + divergence));
    }),
    { seed: 21 },
  );
});

Deno.test("topOneAgreement() compares the first of the largest logits", () => {
  assertEquals(topOneAgreement([1, 3, 2], [0, 9, 8]), true);
  assertEquals(topOneAgreement([1, 3, 2], [0, 9, 9]), true);
  assertEquals(topOneAgreement([1, 3, 2], [9, 9, 0]), false);
});

Deno.test("measures of logits refuse rows that cannot be compared", () => {
  for (const measure of [klDivergence, topOneAgreement, stepQuality]) {
    assertEquals(
      assertThrows(() => measure([0, 1], [0]), RequirementError).message,
      "Cannot compare logits: the second row must have length 2: current length is 1",
    );
    assertThrows(() => measure([], []), Error, "must be an integer at least 1: current value is 0");
    assertEquals(
      assertThrows(() => measure([0, 1], [0, NaN]), RequirementError).message,
      "Cannot compare logits: they must be finite: current value at token 1 is NaN",
    );
    assertThrows(() => measure([-Infinity, 1], [0, 1]), Error, "at token 0 is -Infinity");
  }
});

Deno.test("summarizeQuality() gives mean, median and share", () => {
  const steps = [[0, true], [0.1, true], [2, false], [0.3, true]] as const;
  const summary = summarizeQuality(steps.map(([kl, isSameChoice]) => ({ kl, isSameChoice })));
  assertEquals(summary.steps, 4);
  close(summary.meanKl, 0.6);
  close(summary.medianKl, 0.2);
  assertEquals(summary.sameChoiceShare, 0.75);
  assertThrows(() => summarizeQuality([]), RequirementError);
});

Deno.test("firstDivergence() and tokenAgreement() compare position by position", () => {
  assertEquals(firstDivergence([1, 2, 3], [1, 2, 3]), undefined);
  assertEquals(firstDivergence([1, 2, 3], [1, 9, 3]), 1);
  assertEquals(firstDivergence([1, 2, 3], [1, 2]), 2);
  assertEquals(firstDivergence([], [1]), 0);
  assertEquals(tokenAgreement([1, 2, 3, 4], [1, 9, 3]), 0.5);
  assertEquals(tokenAgreement([], []), 1);
  assertEquals(tokenAgreement([], [1]), 0);
});

Deno.test("repeatedShare() counts sequences of four that occurred earlier", () => {
  assertEquals(repeatedShare([1, 2, 3]), 0);
  assertEquals(repeatedShare([1, 2, 3, 4, 5]), 0);
  // 1234 2341 3412 4123 1234: one of five
  close(repeatedShare([1, 2, 3, 4, 1, 2, 3, 4]), 0.2);
  close(repeatedShare(Array(103).fill(7)), 0.99);
  close(repeatedShare(["a", "b", "a", "b", "a"], 2), 0.5);
  // Joining words without care would make these equal.
  assertEquals(repeatedShare(["a,b", "c", "a", "b,c"], 2), 0);
  assertThrows(() => repeatedShare([1], 0), RequirementError);
});

Deno.test("newWords() lists what the prompt does not have, once, in order", () => {
  const prompt = "Sort: Zebra, apple; don't stop. 42 well-known";
  assertEquals(newWords("apple ZEBRA banana Don't dont 42 43 banana", prompt), [
    "banana",
    "dont",
    "43",
  ]);
  assertEquals(newWords("", prompt), []);
  assertEquals(newWords("naïve 日本", "naïve"), ["日本"]);
});

Deno.test("compareTexts() gives every measure, and the best ones to equal texts", () => {
  const reference = { tokens: [1, 2, 3, 4], text: "the cat sat down" };
  assertEquals(compareTexts(reference, reference, { prompt: "a cat sat" }), {
    tokenAgreement: 1,
    rougeL: 1,
    repeatedShare: 0,
    newWords: ["the", "down"],
    lengthRatio: 1,
  });
  const written = { tokens: [1, 2], text: "the cat" };
  const quality = compareTexts(reference, written, { prompt: "the cat" });
  assertEquals(quality.firstDivergence, 2);
  assertEquals(quality.tokenAgreement, 0.5);
  assertEquals(quality.lengthRatio, 0.5);
  // 2 of 2 words found, 2 of 4 needed
  close(quality.rougeL, 2 / 3, 1e-7);
  const empty = { tokens: [], text: "" };
  assertEquals(compareTexts(empty, empty, { prompt: "" }).rougeL, 1);
  assertEquals(compareTexts(empty, written, { prompt: "" }).lengthRatio, 2);
});
