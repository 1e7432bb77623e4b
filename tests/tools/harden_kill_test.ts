import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign as killsReproduce } from "../../tools/harden/kill.ts";
import { campaign as killsEvaluate } from "../../tools/harden/kill_evaluate.ts";
import { hasGpu } from "../support/gpu.ts";

for (const [campaign, kills] of [[killsReproduce, 3], [killsEvaluate, 2]] as const) {
  Deno.test({
    name: `${campaign.name} finds nothing lost that was finished before a kill`,
    ignore: !hasGpu || Deno.build.os === "windows",
    async fn() {
      const { cases, failures } = await campaign.run({
        seed: 0,
        goesOn: (cases) => cases < kills,
        random: (index) => seededRandom(derivedSeed(0, `kill ${index}`)),
        say: () => {},
        signal: new AbortController().signal,
      });
      assertEquals([cases, failures], [kills, []]);
    },
  });
}
