import { assertEquals } from "@std/assert";
import { rankShares } from "../../views/rank_shares.ts";

Deno.test("rankShares() ranks from 0 to 1", () => {
  assertEquals([...rankShares(Float32Array.of(3, 9, 1, 4, 9))], [0.25, 0.75, 0, 0.5, 1]);
  assertEquals([...rankShares(Float32Array.of(7))], [0]);
});
