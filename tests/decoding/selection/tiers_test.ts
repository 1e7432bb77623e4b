import { assertEquals } from "@std/assert";
import type { Selection } from "../../../cache/policy.ts";
import { selectionTiers, tierSizes } from "../../../decoding/selection/tiers.ts";

const NOTHING: Selection = { full: new Uint32Array(0), valueOnly: new Uint32Array(0) };

Deno.test("selectionTiers() and tierSizes() count the newest full tokens as recent", () => {
  const selection = { full: Uint32Array.of(0, 3, 7, 8, 9), valueOnly: Uint32Array.of(1, 2) };
  assertEquals(selectionTiers(selection, 2), {
    critical: Uint32Array.of(0, 3, 7),
    recent: Uint32Array.of(8, 9),
    marginal: Uint32Array.of(1, 2),
  });
  assertEquals(selectionTiers(selection, 9).critical, new Uint32Array(0));
  const sizes = tierSizes([selection, NOTHING], { tokens: 10, recentOf: () => 3 });
  assertEquals(sizes, { critical: 1, recent: 1.5, marginal: 1, none: 6.5 });
});
