import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { soakCampaign } from "../../tools/harden/soak.ts";

Deno.test("long runs leave the device's bytes as they were", async () => {
  const decoded = ["full, resident", "h2o, tiered", "smallkv, tiered"];
  const { count, run } = soakCampaign({ steps: 8, loads: 2, aborts: 4, decoded });
  const { cases, failures } = await run({
    seed: 0,
    goesOn: (cases) => cases < count,
    random: (index) => seededRandom(derivedSeed(0, `soak ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [5, []]);
});
