/**
 * Tests of `models/load.ts`.
 *
 * @module
 */

import { assert, assertStrictEquals } from "@std/assert";
import { embeddedPair } from "../../data/embedded.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";

const OTHER = createTokenizer({
  json: { model: { type: "WordLevel", vocab: { a: 0 } } },
  config: {},
});

Deno.test("loadModel() takes a known tokenizer only if its own has the same vocabulary", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0 });
  const files = embeddedPair();
  using large = await loadModel(files.large, { device });
  const knownTokenizer = large.tokenizer!;
  using small = await loadModel(files.small, { device, knownTokenizer });
  assertStrictEquals(small.tokenizer, knownTokenizer);
  using own = await loadModel(files.small, { device, knownTokenizer: OTHER });
  assert(own.tokenizer !== OTHER && own.tokenizer!.vocabulary === knownTokenizer.vocabulary);
});
