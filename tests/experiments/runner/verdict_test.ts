import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import type { Claim, Measured } from "../../../experiments/experiment.ts";
import { type ComparisonSetting, judgeClaim } from "../../../experiments/runner/verdict.ts";

const SETTING: ComparisonSetting = {
  scale: "small",
  large: "Qwen2-7B Instruct",
  small: "qwen2-0.5b-instruct-q8_0",
};

const CLAIM: Claim = {
  id: "C02",
  source: "Fig. 1c",
  statement: "mean cosine",
  paper: 0.947,
  unit: "",
  kind: "absolute",
  tolerance: 0.02,
  pairs: [{ large: "qwen2-7b", small: "qwen2-0.5b" }],
};

function measured(value: number, reach = 0): Measured {
  return { value, low: value - reach, high: value + reach, n: 10 };
}

Deno.test("judgeClaim() compares absolute values within the tolerance", () => {
  assertEquals(judgeClaim(CLAIM, measured(0.967), SETTING), "reproduced");
  assertEquals(judgeClaim(CLAIM, measured(0.968), SETTING), "differs");
  assertEquals(judgeClaim(CLAIM, undefined, SETTING), "not run");
});

Deno.test("judgeClaim() does not call a difference that the interval does not show", () => {
  assertEquals(judgeClaim(CLAIM, measured(0.98, 0.02), SETTING), "not comparable at this scale");
  assertEquals(judgeClaim(CLAIM, measured(0.98, 0.01), SETTING), "differs");
});

Deno.test("judgeClaim() compares absolute values only for the paper's models and not for smoke", () => {
  const others = [
    { ...SETTING, scale: "smoke" as const },
    { ...SETTING, large: "Qwen2-72B" },
    { ...SETTING, large: "qwen2.5-coder-7b" },
    { ...SETTING, small: "SmolLM2-135M" },
  ];
  for (const setting of others) {
    assertEquals(judgeClaim(CLAIM, measured(0.1), setting), "not comparable at this scale");
  }
});

Deno.test("judgeClaim() compares arithmetic with any models", () => {
  const claim: Claim = { ...CLAIM, kind: "arithmetic", paper: 1.34, tolerance: 0 };
  const setting = { ...SETTING, scale: "smoke", large: "a", small: "b" } as const;
  assertEquals(judgeClaim(claim, measured(1.34), setting), "reproduced");
  assertEquals(judgeClaim(claim, measured(1.35), setting), "differs");
});

Deno.test("judgeClaim() wants trends strictly inside their interval", () => {
  const claim: Claim = { ...CLAIM, kind: "trend", paper: "falls", expected: { below: 0 } };
  assertEquals(judgeClaim(claim, measured(-0.1), SETTING), "reproduced");
  assertEquals(judgeClaim(claim, measured(0), SETTING), "differs");
  for (const value of [-0.1, 0.1]) {
    assertEquals(judgeClaim(claim, measured(value, 0.2), SETTING), "not comparable at this scale");
  }
  assertEquals(judgeClaim(claim, measured(-0.1, 0.05), SETTING), "reproduced");
});

Deno.test("judgeClaim() sees no trend in a single context, but trusts what is only computed", () => {
  const claim: Claim = { ...CLAIM, kind: "trend", paper: "falls", expected: { below: 0 } };
  const single = { ...measured(-0.1), n: 1 };
  const contexts = { ...SETTING, units: 1 };
  assertEquals(judgeClaim(claim, single, contexts), "not comparable at this scale");
  assertStrictEquals(
    judgeClaim(claim, { ...single, value: 1, low: 1, high: 1 }, contexts),
    judgeClaim(claim, single, contexts),
  );
  assertEquals(judgeClaim(claim, { ...measured(-0.1), n: 2 }, contexts), "reproduced");
  assertEquals(judgeClaim(claim, single, { ...SETTING, units: 0 }), "reproduced");
  assertEquals(
    judgeClaim({ ...claim, kind: "arithmetic", paper: -0.1 }, single, contexts),
    "reproduced",
  );
});

Deno.test("judgeClaim() cannot compare with words", () => {
  const claim: Claim = { ...CLAIM, kind: "arithmetic", paper: "higher" };
  assertEquals(judgeClaim(claim, measured(1), SETTING), "not comparable at this scale");
});

Deno.test("judgeClaim() never calls a wider interval more different", () => {
  const number = fc.double({ min: -10, max: 10, noNaN: true });
  const reach = fc.double({ min: 0, max: 5, noNaN: true });
  fc.assert(
    fc.property(number, reach, reach, (value, narrow, more) => {
      const isDifferent = (width: number) =>
        judgeClaim(CLAIM, measured(value, width), SETTING) === "differs";
      assert(!isDifferent(narrow + more) || isDifferent(narrow));
    }),
    { seed: 12 },
  );
});
