import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { arithmeticClaims } from "../../experiments/arithmetic.ts";
import { claimOf, PAPER_CLAIMS, untouchedClaims } from "../../experiments/claims.ts";
import type { Experiment } from "../../experiments/experiment.ts";
import { table2 } from "../../experiments/table2.ts";
import { judgeClaim } from "../../experiments/runner/verdict.ts";
import { fakeModel } from "./fake_models.ts";

const setting = { scale: "smoke", large: "Large", small: "Small" } as const;

function summary(experiment: Experiment) {
  const model = fakeModel("Model", { layers: 2, queryHeads: 2, seed: 1 });
  return experiment.summarise({
    units: [],
    scale: "smoke",
    seed: 1,
    large: model,
    small: model,
    isDefaultPair: true,
  });
}

Deno.test("PAPER_CLAIMS lists C01 to C64 once each", () => {
  const expected = Array.from(
    { length: 64 },
    (_, index) => `C${String(index + 1).padStart(2, "0")}`,
  );
  assertEquals(PAPER_CLAIMS.map(({ id }) => id), expected);
});

Deno.test("claimOf() keeps the paper's words and value unless told otherwise", () => {
  const claim = claimOf("C02", { kind: "absolute", tolerance: 0.02 });
  assertEquals([claim.paper, claim.source, claim.tolerance], [0.947, "Fig. 1c", 0.02]);
  assertEquals("paper" in claimOf("C02", { kind: "trend", paper: null }), false);
  assertEquals(
    assertThrows(() => claimOf("C65", { kind: "trend" }), RequirementError).message,
    "Cannot find a claim: id must be from C01 to C64: current value is C65",
  );
});

Deno.test("untouchedClaims() leaves out what an experiment measures", () => {
  const open = untouchedClaims([table2]).map(({ id }) => id);
  assertEquals(open.includes("C19"), false);
  assertEquals(open.includes("C01"), true);
  assertEquals(untouchedClaims([]).length, 64);
});

Deno.test("table2 recomputes every printed throughput", () => {
  const { values, tables } = summary(table2);
  for (const [key, claim] of Object.entries(table2.claims)) {
    assertEquals(judgeClaim(claim, values[key], setting), "reproduced", key);
  }
  const column = tables[0]!.rows.map((row) => Number(row[8]).toFixed(1));
  assertEquals(column, [
    "439.3",
    "1314.6",
    "540.2",
    "1369.2",
    "56.7",
    "117.7",
    "82.8",
    "143.2",
  ]);
  const rounded = tables[1]!.rows.map((row) => row.map((cell) => Number(Number(cell).toFixed(2))));
  assertEquals(rounded, [[64, 2.53, 1.04, 0.74, 3421], [4, 1.73, 1.22, 0.83, 3258]]);
});

Deno.test("arithmetic finds the paper right except where it contradicts itself", () => {
  const { values, tables } = summary(arithmeticClaims);
  const verdicts = Object.entries(arithmeticClaims.claims).map(([key, claim]) =>
    [claim.id, judgeClaim(claim, values[key], setting)] as const
  );
  const differing = verdicts.filter(([, verdict]) => verdict === "differs").map(([id]) => id);
  assertEquals(differing, ["C43", "C17", "C14"]);
  assertEquals(values.groupsAhead!.value, 14);
  assertEquals(values.multiDocument!.value.toFixed(1), "-7.9");
  const compute = tables[1]!.rows.map(([, ratio]) => Number(ratio).toFixed(2));
  assertEquals(compute, ["14.93", "13.51", "10.69", "10.76"]);
});
