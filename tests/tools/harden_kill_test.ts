import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/kill.ts";
import { hasGpu } from "../support/gpu.ts";

Deno.test({
  name: "reproduce loses nothing that is finished when it is killed",
  ignore: !hasGpu || Deno.build.os === "windows",
  async fn() {
    const { cases, failures } = await campaign.run({
      seed: 0,
      goesOn: (cases) => cases < 3,
      random: (index) => seededRandom(derivedSeed(0, `kill ${index}`)),
      say: () => {},
      signal: new AbortController().signal,
    });
    assertEquals([cases, failures], [3, []]);
  },
});
