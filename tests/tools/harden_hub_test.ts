import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/hub.ts";

Deno.test("a hub that lies does no harm", async () => {
  const { cases, failures } = await campaign.run({
    seed: 0,
    goesOn: (cases) => cases < 8,
    random: (index) => seededRandom(derivedSeed(0, `hub ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [8, []]);
});
