import { assertEquals } from "@std/assert";
import type { Selection } from "../../../cache/policy.ts";
import { heldHalves, stepCost } from "../../../decoding/selection/cost.ts";

Deno.test("stepCost counts keys and values that come back, and not the newest token", () => {
  const selection = (kept: number[], marginal: number[]): Selection => ({
    full: Uint32Array.from(kept),
    valueOnly: Uint32Array.from(marginal),
  });
  const before = selection([0, 1, 8], [2, 3]);
  // 2 gains its key, 3 stays, 5 comes with both, 6 with its value, 9 is the newest
  const now = selection([1, 2, 5, 9], [3, 6]);
  assertEquals(heldHalves(now), 10);
  const cost = stepCost([before], [now], 10);
  assertEquals(cost.held, 10 / 20);
  assertEquals(cost.loaded, 2 + 2);
  assertEquals(cost.churn, 2 / 5);
  assertEquals(stepCost(undefined, [now], 10), { held: 0.5, churn: 0, loaded: 0 });
});
