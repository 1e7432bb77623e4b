import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError } from "../../../core/check.ts";
import { Deadline } from "../../../core/deadline.ts";
import { KNOWN_PATTERNS } from "../../../models/tokenizer/known_patterns.ts";
import {
  type Match,
  nativePattern,
  patternOf,
  steppedPattern,
} from "../../../models/tokenizer/patterns.ts";
import { createTokenizer } from "../../../models/tokenizer/tokenizer.ts";

const deadline = () => new Deadline(20, () => new Error("late"));
const text = fc.array(
  fc.constantFrom(
    ..."aAbB1\u0663 \t\r\n'.,-/\u4e2d\u0301\u02b0\u01c5\u0085\ufeff\u{1f600}\u{1d400}",
    "'s",
    "'LL",
  ),
  { maxLength: 24 },
).map((parts) => parts.join(""));

Deno.test("steppedPattern() finds what JavaScript's own expressions find", () => {
  const sources = [
    ...[
      "a|ab|abc",
      "(?:a|ab)(?:1|b1)*",
      "a*?b",
      "(?:ab?)+",
      "a{2,3}",
      "a{2,}?",
      "(?:)",
      "b*",
      "(?:a*)*",
    ],
    ...[
      "(?<!a)b",
      "(?<=[aA].)b",
      "\\s+(?!\\S)",
      "(?=[^])a|.",
      "[^a]+?(?=a)",
      "(a|A)(b)?",
      "\\p{L}+|[\\s\\S]",
    ],
    ...["(?:(?=[a-z])\\p{L})+", "(?:a{1,2}){2}", "\\u{1f600}+", "(?<![\\s\\S])a", "a(?![\\s\\S])"],
  ];
  const expressions = sources.map((source) => new RegExp(source, "gu"));
  for (const Regex of KNOWN_PATTERNS) {
    if (Regex.includes("(?i:")) continue;
    expressions.push(new RegExp(Regex, "gu"));
  }
  for (const expression of expressions) {
    const [native, stepped] = [nativePattern(expression), steppedPattern(expression, "pattern")];
    fc.assert(
      fc.property(text, (given) => {
        const found = [...native(given, deadline())];
        const isEmptyBehind = ({ start, end }: Match, at: number) =>
          start === end && found[at - 1]?.end === start;
        assertEquals(
          [...stepped(given, deadline())],
          found.filter((match, at) => !isEmptyBehind(match, at)),
        );
      }),
      { seed: 17, numRuns: 60 },
    );
  }
});

Deno.test("patternOf() runs known patterns as they are and others to the same end", () => {
  for (const Regex of KNOWN_PATTERNS) {
    const known = patternOf({ pattern: { Regex } }, "pre_tokenizer");
    const other = patternOf({ pattern: { Regex: `(?:${Regex})` } }, "pre_tokenizer");
    fc.assert(
      fc.property(text, (given) => {
        assertEquals([...other(given, deadline())], [...known(given, deadline())]);
      }),
      { seed: 18, numRuns: 40 },
    );
  }
});

Deno.test("patternOf() refuses what cannot run by steps", () => {
  for (const Regex of ["(a)\\1", "(?<=a+)b", "(?:a{1000}){1000}", "(?:".repeat(10) + "a"]) {
    assertThrows(() => patternOf({ pattern: { Regex } }, "pre_tokenizer"), DataError, "pattern");
  }
});

Deno.test("encode() takes the time of its text for patterns that go back and try again", () => {
  const tokenizer = (Regex: string) =>
    createTokenizer({
      config: {},
      json: {
        model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [], unk_token: "a" },
        pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false },
      },
    });
  const started = performance.now();
  assertEquals(tokenizer("(?:a+)+b").encode("a".repeat(500)).length, 500);
  assert(performance.now() - started < 2000);
  const error = assertThrows(() => tokenizer("a*b|b+c").encode("a".repeat(40_000)), DataError);
  assertMatch(
    error.message,
    /^Cannot encode a text: .* within 2.4 s: current value is a text of 40000/,
  );
});
