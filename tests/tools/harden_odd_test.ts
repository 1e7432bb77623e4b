import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/odd.ts";

Deno.test("odd settings are refused or hold what every setting must hold", async () => {
  const { cases, failures } = await campaign.run({
    seed: 0,
    goesOn: (cases) => cases < 21,
    random: (index) => seededRandom(derivedSeed(0, `odd ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [21, []]);
});
