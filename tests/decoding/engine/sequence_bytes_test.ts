/**
 * Bytes that sequences are counted with, against those that sessions allocate.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { PromptRunner } from "../../../decoding/engine/prompt_runner.ts";
import {
  fittingSequences,
  openSetting,
  type PolicySetting,
  promptSetting,
} from "../../../decoding/engine/settings.ts";
import { sequenceBytes, smallSequenceBytes } from "../../../decoding/engine/sequence_bytes.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { fittingSlots } from "../../../decoding/text/answers.ts";
import { withOwnTokens } from "../../../models/forward/own_tokens.ts";
import { embeddedModels } from "../../support/embedded_model.ts";

const CAPACITY = 160;
const SMALLKV: PolicySetting = { policy: "smallkv", budget: { ratio: 0.2 } };

/** Small models as settings ask for them. */
const CUTS: readonly PolicySetting[] = [
  SMALLKV,
  { ...SMALLKV, smallCacheBits: 8 },
  { ...SMALLKV, smallCacheBits: "8/4" },
  { ...SMALLKV, smallCacheBits: 4 },
  { ...SMALLKV, smallLayers: 1 },
  { ...SMALLKV, smallLayers: 1, smallCacheBits: "8/4" },
  { ...SMALLKV, smallLayers: 1, smallBudget: { ratio: 0.5 } },
];

Deno.test("smallSequenceBytes() is what sessions and runs of prompts allocate", async () => {
  const pair = await embeddedModels("reference");
  const { small, large: { device } } = pair;
  const held = async (setting: PolicySetting, sequences: number) => {
    using session = openSetting(pair, setting, { sequences, capacity: CAPACITY });
    return (await session.memory()).smallCacheBytes;
  };
  const runner = (setting: PolicySetting) => {
    const before = device.usage.liveBytes;
    using _runner = new PromptRunner(pair, {
      settings: [promptSetting(setting)],
      ...{ capacity: CAPACITY, chunk: 32 },
    });
    return device.usage.liveBytes - before;
  };
  const counted = (setting: PolicySetting, isPrompt: boolean) =>
    smallSequenceBytes(small, CAPACITY, promptSetting(setting), isPrompt);
  for (const cut of CUTS) {
    const name = JSON.stringify(cut);
    assertEquals(await held(cut, 2), 2 * counted(cut, false), name);
    const whole: PolicySetting = { ...cut, smallCacheBits: 16 };
    const saved = 2 * (counted(whole, true) - counted(cut, true));
    assertEquals(runner(whole) - runner(cut), saved, `prompts of ${name}`);
  }
  const all = sequenceBytes(small, CAPACITY, true);
  assertEquals(counted(SMALLKV, false), all);
  assertEquals(counted({ ...SMALLKV, policy: "h2o" }, true), 0);
});

Deno.test("smallSequenceBytes() counts the room of own tokens", async () => {
  const pair = await embeddedModels("reference");
  const small = withOwnTokens(pair.small, pair.large);
  const own = { ...pair, small };
  using session = openSetting(own, SMALLKV, { sequences: 1, capacity: CAPACITY });
  const { smallCacheBytes } = await session.memory();
  assertEquals(smallSequenceBytes(small, CAPACITY, promptSetting(SMALLKV)), smallCacheBytes);
});

/** What a sequence takes beside the small model's cache, and rows of a small model of its own. */
function otherBytes({ large, small }: Required<ModelPair>) {
  const rows = 4 * small.config.layers * small.config.queryHeads * CAPACITY;
  const sums = 4 * large.config.layers * large.config.queryHeads * CAPACITY;
  const logits = 4 * large.config.vocabulary;
  return { each: sequenceBytes(large, CAPACITY, true) + sums + 2 * rows + logits, rows };
}

Deno.test("fittingSequences() knows the small model's cache, and whether each sequence has one", async () => {
  const pair = await embeddedModels("reference");
  const { small } = pair;
  const count = (settings: readonly PolicySetting[], bytes: number, hasOwnSmallModel: boolean) =>
    fittingSequences(pair, CAPACITY, { settings, bytes, hasOwnSmallModel });
  const { each, rows } = otherBytes(pair);
  const room = 12 * (each + sequenceBytes(small, CAPACITY, true) + rows);
  assertEquals(count([SMALLKV], room, true), 12);
  for (const cut of CUTS) {
    const own = smallSequenceBytes(small, CAPACITY, promptSetting(cut));
    assertEquals(count([cut], room, true), Math.floor(room / (each + own + rows)));
    assertEquals(count([cut], 5 * each + own, false), 5);
    assertEquals(count([cut], 5 * each + own - 1, false), 4);
  }
  // The setting that takes most decides, and what does not ask the small model has none.
  assertEquals(count([{ ...SMALLKV, smallCacheBits: 4 }, SMALLKV], room, true), 12);
  assertEquals(count([{ ...SMALLKV, policy: "h2o" }], 7 * (each + rows), true), 7);
});

Deno.test("fittingSlots() leaves room for one run of prompts for each cut of the small model", async () => {
  const pair = await embeddedModels("reference");
  const { large, small } = pair;
  const cut: PolicySetting = { ...SMALLKV, smallCacheBits: "8/4" };
  const whole = sequenceBytes(small, CAPACITY, true);
  const less = smallSequenceBytes(small, CAPACITY, promptSetting(cut), true);
  const { each, rows } = otherBytes(pair);
  const most = 12 * (each + whole + rows);
  const room = most + 2 * (sequenceBytes(large, CAPACITY, true) + whole);
  // A quarter is for prompts that wait, and sequences may move to another session.
  const maxBytes = 1 + room * 1.75 / 0.75;
  const slots = (settings: readonly PolicySetting[]) =>
    fittingSlots(pair, { capacity: CAPACITY, maxBytes, settings });
  assertEquals(slots([SMALLKV]), 12);
  assertEquals(slots([SMALLKV, SMALLKV]), 12);
  assertEquals(slots([SMALLKV, cut]), Math.floor((most - 2 * less) / (each + whole + rows)));
  const freed = 2 * (whole - less);
  assertEquals(slots([cut]), Math.floor((most + freed) / (each + less + rows)));
});
