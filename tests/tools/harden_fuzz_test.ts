import { assertEquals } from "@std/assert";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { campaign } from "../../tools/harden/fuzz.ts";

Deno.test("damaged files of every kind end in a clear error or are read", async () => {
  const { cases, failures, figures } = await campaign.run({
    seed: 1,
    goesOn: (cases) => cases < 600,
    random: (index) => seededRandom(derivedSeed(1, `fuzz ${index}`)),
    say: () => {},
    signal: new AbortController().signal,
  });
  assertEquals([cases, failures], [600, []]);
  // Every kind has files that are still good and files that are not.
  assertEquals(figures?.outcomes?.match(/\w+ (loaded|refused)/g)?.length, 12);
});
