import { assertEquals } from "@std/assert";
import { TIER } from "../../cache/token_tier.ts";
import { missedOf, NEED_NAMES, needsOf } from "../../explorer/state/saliency.ts";

const { dropped, host, marginal, critical, recent } = TIER;
const names = (row: Uint8Array) => [...row].map((number) => NEED_NAMES[number]);

Deno.test("needsOf() takes as many tokens as were held with key and value, those that received most", () => {
  const tiers = Uint8Array.of(recent, critical, dropped, critical, host, marginal, dropped, recent);
  const received = Float32Array.of(9, 1, 5, 4, 2, 0.5, 0.1, 9);
  assertEquals(names(needsOf(tiers, received)), [
    "recent",
    "spare",
    "missed",
    "needed",
    "rest",
    "rest",
    "rest",
    "recent",
  ]);
  const other = Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7);
  assertEquals(names(needsOf(tiers, other)), [
    "recent",
    "spare",
    "rest",
    "spare",
    "rest",
    "borrowed",
    "missed",
    "recent",
  ]);
});

Deno.test("missedOf() counts what the last row lacks, and what any has lacked", () => {
  const row = (...kinds: (typeof NEED_NAMES[number])[]) =>
    Uint8Array.from(kinds, (kind) => NEED_NAMES.indexOf(kind));
  const rows = [
    row("missed", "needed", "spare", "recent"),
    row("rest", "needed", "missed", "borrowed", "missed", "recent"),
  ];
  assertEquals(missedOf(rows), { missed: 2, needed: 4, ever: 3 });
  assertEquals(missedOf([]), { missed: 0, needed: 0, ever: 0 });
});
