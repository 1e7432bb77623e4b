import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/permissions.ts";

Deno.test("commands run with the permissions that the tasks give them", async () => {
  const { cases, failures } = await campaign.run({
    seed: 0,
    goesOn: (cases) => cases < 5,
    random: (index) => seededRandom(derivedSeed(0, `permissions ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [5, []]);
});
