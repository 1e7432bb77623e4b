import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { PolicyOptions } from "../../cache/policy_options.ts";
import type { PolicySetting } from "../../decoding/engine/settings.ts";
import { teacherForceSettings } from "../../decoding/forced/teacher_force_settings.ts";
import {
  budgetForTotal,
  deviceBytes,
  type TextMemory,
  textMemory,
} from "../../experiments/decoded/total_memory.ts";
import type { Model } from "../../models/load.ts";
import { randomPair, randomText, SHAPES } from "../invariants/random_pair.ts";

const LARGE = {
  layers: 2,
  queryHeads: 6,
  kvHeads: 3,
  headDim: 8,
  fileTensorBytes: 9000,
  hash: "large",
};
const SMALL = {
  layers: 4,
  queryHeads: 2,
  kvHeads: 1,
  headDim: 8,
  fileTensorBytes: 5000,
  hash: "small",
};
/** Keys and values in 16 bits over all layers and KV heads. */
const TOKEN = 2 * 2 * 2 * 3 * 8;
const SMALL_TOKEN = 2 * 2 * 4 * 1 * 8;
const PROMPT = 10;

/** Three steps that see 4, 6 and 5 tokens; the first share belongs to the prompt. */
const RUN = {
  cost: [0, 4 / 11, 6 / 12, 5 / 13],
  bytes: { large: 5 * TOKEN, small: 13 * SMALL_TOKEN },
};
const TEXT = { promptTokens: PROMPT, large: LARGE, small: SMALL };
const SETTING = { policy: "smallkv", budget: { ratio: 0.4 } };

Deno.test("textMemory() counts the largest step, the small model, the prompt and the host copy", () => {
  const memory = textMemory(RUN, { ...TEXT, setting: SETTING });
  const expected: TextMemory = {
    full: 13 * TOKEN,
    kept: 6 * TOKEN,
    keptMean: 5 * TOKEN,
    sketches: 0,
    rest: 0,
    small: 13 * SMALL_TOKEN,
    smallWeights: 5000,
    prompt: PROMPT * (TOKEN + SMALL_TOKEN),
    scores: 4 * 4 * 2 * 13, // a sum for each head of the small model and each token
    host: 13 * TOKEN,
  };
  for (const [key, value] of Object.entries(expected)) {
    assertAlmostEquals(memory[key as keyof TextMemory], value, 1e-9, key);
  }
  const decode = 6 * TOKEN + 13 * SMALL_TOKEN;
  assertAlmostEquals(deviceBytes(memory, { phase: "decode", hasWeights: false }), decode);
  assertAlmostEquals(deviceBytes(memory, { phase: "decode", hasWeights: true }), decode + 5000);
  assertAlmostEquals(
    deviceBytes(memory, { phase: "prompt", hasWeights: true }),
    PROMPT * (TOKEN + SMALL_TOKEN) + 5000,
  );
});

Deno.test("textMemory() counts only the layers of a small model that stops early, and no small model of others", () => {
  const cut = textMemory(RUN, { ...TEXT, setting: { ...SETTING, smallLayers: 1 } });
  assertEquals(cut.prompt, PROMPT * (TOKEN + SMALL_TOKEN / 8), "half of a layer: keys alone");
  assertEquals(cut.smallWeights, 5000);
  // The second layer has keys alone: 8 bits, as those of the first, whose values have 4.
  const rounded = { ...SETTING, smallLayers: 2, smallCacheBits: "8/4" } as const;
  const [key, value] = [8 + 4, 4 + 4];
  assertEquals(
    textMemory(RUN, { ...TEXT, setting: rounded }).prompt,
    PROMPT * (TOKEN + 2 * key + value),
    "keys and values of different bits",
  );
  const run = { ...RUN, bytes: { large: 5 * TOKEN + 26, small: 0 } };
  const own = textMemory(run, { ...TEXT, setting: { ...SETTING, policy: "h2o" } });
  assertEquals([own.small, own.smallWeights, own.host, own.sketches], [0, 0, 0, 26]);
  assertEquals(own.prompt, PROMPT * TOKEN + 20, "sketches of the prompt");
  const dropped = { ...run, bytes: { large: 4 * TOKEN, small: 0 } };
  assertEquals(textMemory(dropped, { ...TEXT, setting: SETTING }).sketches, 0);
  const full = textMemory(run, { ...TEXT, setting: { policy: "full", budget: { ratio: 1 } } });
  assertEquals(full.host, 0);
  const mean = { ...SETTING, policy: "h2o", options: { rest: "mean" } } as const;
  const rest = 4 * 8 * 3 * (2 + 1);
  const summed = textMemory(run, { ...TEXT, setting: mean });
  assertEquals([summed.rest, summed.prompt], [rest, PROMPT * TOKEN + 20 + rest]);
  const decode = { phase: "decode", hasWeights: false } as const;
  assertAlmostEquals(deviceBytes(summed, decode), summed.kept + 26 + rest);
  const alone = textMemory(RUN, { ...TEXT, small: LARGE, setting: SETTING });
  assertEquals(alone.smallWeights, 0, "a model that is there already");
});

Deno.test("textMemory() counts what scores remember, apart from the totals", () => {
  const scores = (policy: string, options: PolicyOptions = {}) =>
    textMemory(RUN, { ...TEXT, setting: { policy, options, budget: { ratio: 0.4 } } }).scores;
  const [heads, groups, held] = [2 * 6, 2 * 3, 6];
  const expected = {
    full: 0,
    random: 0,
    key_norm: 0,
    tova: 0, // the newest row
    h2o: 4 * groups * held,
    snapkv: 4 * groups * held,
    kvzip: 4 * groups * held,
    snapkv_decoding: 4 * groups * held * 8,
    r_kv: 4 * groups * held * 8,
    expected_attention: 4 * heads * (8 + 8 * 9 / 2),
  };
  for (const [policy, bytes] of Object.entries(expected)) {
    assertAlmostEquals(scores(policy), bytes, 1e-9, policy);
  }
  assertEquals(scores("smallkv", { score: "row" }), 0);
  assertEquals(scores("smallkv", { score: "decayed" }), 4 * 4 * 2 * 13);
});

Deno.test("textMemory() equals what sessions count of real runs", async () => {
  using pair = await randomPair("cpu", { shape: SHAPES[1]!, seed: 3 });
  const settings: PolicySetting[] = [
    { policy: "full", budget: { ratio: 1 } },
    { policy: "smallkv", budget: { ratio: 0.3 } },
    { policy: "smallkv", budget: { ratio: 0.3 }, smallLayers: 1 },
    { policy: "smallkv", budget: { ratio: 0.3 }, smallBudget: { ratio: 0.5 } },
    { policy: "h2o", budget: { ratio: 0.3 } },
    { policy: "smallkv", budget: { ratio: 0.3 }, smallCacheBits: "8/4" },
  ];
  const prompt = randomText(4, 120);
  const runs = await teacherForceSettings(pair, { prompt, continuation: randomText(5, 6) }, {
    ...{ settings, newTokens: 6, endTokens: [] },
  });
  const shape = ({ config, hash, fileTensorBytes }: Model) => ({
    ...config,
    hash,
    fileTensorBytes,
  });
  const [large, small] = [shape(pair.large), shape(pair.small)];
  const memory = runs.map((run, index) =>
    textMemory(run, { promptTokens: 120, setting: settings[index]!, large, small })
  );
  const token = (model: typeof small) => 2 * 2 * model.layers * model.kvHeads * model.headDim;
  const [full, whole, early, compressed, h2o, rounded] = memory;
  for (const { sketches } of memory) assertEquals(sketches, 0);
  assertEquals([full!.full, full!.kept], [125 * token(large), runs[0]!.bytes.large]);
  // Kept before a step is what its attention sees; kept after it lacks what was dropped.
  assertAlmostEquals(whole!.kept, runs[1]!.bytes.large, 1e-6);
  assert(h2o!.kept > runs[4]!.bytes.large && h2o!.kept <= 0.3 * full!.full + token(large));
  assertEquals(whole!.small, 125 * token(small));
  assertEquals(early!.small, 125 * token({ ...small, layers: 1 }) / 2, "keys alone");
  const tokenRounded = rounded!.small / 125;
  assert(tokenRounded > 3 / 8 * token(small) && tokenRounded < token(small));
  // The prompt is held beside the large model's, and tokens take the same then as at the end.
  assertEquals(rounded!.prompt, whole!.prompt - 120 * (token(small) - tokenRounded));
  assertEquals(compressed!.small, Math.floor(0.5 * 125) * token(small));
  assertEquals(compressed!.prompt, whole!.prompt, "the small model reads all of the prompt first");
});

/** Memory of a text of 100 tokens of 10 bytes, whose small model needs the bytes of 25. */
function memoryOf(kept: number, small = 0): TextMemory {
  const nothing = { sketches: 0, rest: 0, smallWeights: 0, prompt: 0, scores: 0, host: 0 };
  return { ...nothing, full: 1000, kept: 10 * kept, keptMean: 10 * kept, small: 10 * small };
}

Deno.test("budgetForTotal() leaves room for all that a policy needs beside its budget", () => {
  const ratioFor = (extra: number, small: number, target: number, hasWeights = false) => {
    const measured = [0.05, 0.205].map((ratio) => ({
      ratio,
      memory: { ...memoryOf(Math.floor(100 * ratio) + extra, small), smallWeights: 400 },
    }));
    return budgetForTotal(measured, { target, tokens: 100, hasWeights });
  };
  assertEquals(ratioFor(0, 0, 0.2), 0.2);
  assertEquals(ratioFor(1, 0, 0.2), 0.19, "the newest token");
  assertEquals(ratioFor(15, 0, 0.2), 0.04, "tokens until the next choice, and one more");
  assertEquals(ratioFor(1, 25, 0.5), 0.24, "a small model");
  assertEquals(ratioFor(1, 0, 0.5, true), 0.09, "its weights");
  assertEquals(ratioFor(1, 25, 0.2), undefined);
  assertEquals(ratioFor(0, 0, 2), 1);
});
