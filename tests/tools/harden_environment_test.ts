import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/environment.ts";

Deno.test("commands work in unusual surroundings", async () => {
  const { cases, failures } = await campaign.run({
    seed: 0,
    goesOn: (cases) => cases < 2,
    random: (index) => seededRandom(derivedSeed(0, `environment ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [2, []]);
});
