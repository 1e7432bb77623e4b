/**
 * Tests of `decoding/engine/store.ts`: sequences of different lengths in one tiered store.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";

const CHOICES: readonly (readonly [string, PolicyOptions])[] = [
  ["smallkv", { base: "prompt" }],
  ["h2o", { base: "prompt" }],
  ["snapkv", {}],
];

for (const [name, options] of CHOICES) {
  Deno.test(`a tiered store has room for a short and a long prompt under ${name} ${JSON.stringify(options)}`, async () => {
    const pair = await embeddedModels("reference");
    const lengths = [101, 160];
    const setting = { policy: createPolicy(name, options), budget: { ratio: 0.2 } };
    const common = { ...setting, sequences: 2, capacity: 166 };
    using resident = new PolicySession(pair, common);
    using tiered = new PolicySession(pair, { ...common, store: "tiered" });
    for (const session of [resident, tiered]) {
      for (const [sequence, length] of lengths.entries()) {
        await session.prefill(someTokens(length), { sequence });
      }
    }
    for (let step = 0; step < 3; step++) {
      const { migration: _, ...expected } = await resident.step({ logits: true });
      const { migration: __, ...actual } = await tiered.step({ logits: true });
      assertEquals(actual, expected);
    }
  });
}
