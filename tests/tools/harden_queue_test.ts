import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/queue.ts";
import { hasNatsServer } from "../support/nats_server.ts";

Deno.test({
  name: "queue finds nothing lost or double after kills",
  ignore: !hasNatsServer || Deno.build.os === "windows",
  async fn() {
    const { cases, failures } = await campaign.run({
      seed: 0,
      goesOn: (cases) => cases < 2,
      random: (index) => seededRandom(derivedSeed(0, `kill ${index}`)),
      say: () => {},
      signal: new AbortController().signal,
    });
    assertEquals([cases, failures], [2, []]);
  },
});
