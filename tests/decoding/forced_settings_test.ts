import assert from "node:assert/strict";
import { evaluationItems } from "../../data/microworld.ts";
import { ForcedTexts } from "../../decoding/forced_run.ts";
import { forceSettings } from "../../decoding/forced_settings.ts";
import { freeRun } from "../../decoding/free_run.ts";
import type { PolicySetting } from "../../decoding/policy_setting.ts";
import { fittingSequences } from "../../decoding/sequence_bytes.ts";
import { embeddedModel, someTokens } from "../support/embedded_model.ts";
import { hasGpu } from "../support/gpu.ts";

const BACKEND = hasGpu ? "webgpu" : "reference";
const SETTINGS: readonly PolicySetting[] = [
  { policy: "smallkv", budget: { ratio: 0.2 }, options: { granularity: "query_head" } },
  { policy: "full", budget: { ratio: 1 } },
  { policy: "h2o", budget: { ratio: 0.2 } },
  { policy: "smallkv", budget: { ratio: 0.1 } },
  { policy: "smallkv", budget: { ratio: 0.2 }, options: { reduction: "max" } },
  { policy: "tova", budget: { ratio: 0.2 } },
];
const LIMITS = { newTokens: 5, endTokens: [] };

async function pair() {
  return {
    large: await embeddedModel("large", BACKEND),
    small: await embeddedModel("small", BACKEND),
  };
}

Deno.test("forceSettings() gives many settings what ForcedTexts gives each", async () => {
  const models = await pair();
  const all = someTokens(126);
  const text = { prompt: all.slice(0, 120), continuation: all.slice(120) };
  const progress: string[] = [];
  const together = await forceSettings(models, text, {
    ...LIMITS,
    settings: SETTINGS,
    sequences: 2,
    onProgress: (done, total) => progress.push(`${done}/${total}`),
  });
  assert.equal(progress.at(-1), "25/25");
  const texts = await ForcedTexts.open(models, [text]);
  for (const [index, setting] of SETTINGS.entries()) {
    const [alone] = await texts.run(setting);
    const { kl, ...others } = together[index]!;
    assert.deepEqual({ ...others, kl: [] }, { ...alone, kl: [] });
    kl.forEach((value, step) => assert.ok(Math.abs(value - alone!.kl[step]!) < 1e-4, `${value}`));
  }
  assert.ok(together[1]!.kl.every((kl) => kl < 1e-6), "the full cache strays from itself");
});

Deno.test("forceSettings() forces what the full cache would write where a text is open", async () => {
  const models = await pair();
  const [item] = evaluationItems("route", { count: 1 });
  const prompt = models.large.tokenizer!.encode(item!.prompt);
  const setting: PolicySetting = { policy: "full", budget: { ratio: 1 } };
  const run = async (endTokens: readonly number[]) => {
    const [written] = await freeRun(models, [prompt], { setting, maxNew: 5, endTokens });
    const runs = await forceSettings(models, { prompt }, {
      newTokens: 5,
      endTokens,
      settings: SETTINGS.slice(0, 3),
    });
    return { written: written!, runs };
  };
  const whole = await run([]);
  for (const { reference, kl } of whole.runs) {
    assert.deepEqual(reference, whole.written);
    assert.equal(kl.length, 5);
  }
  const cut = await run([whole.written.find((token) => token !== whole.written[0])!]);
  assert.ok(cut.written.length < 5);
  for (const { reference } of cut.runs) assert.deepEqual(reference, cut.written);
});

Deno.test("forceSettings() refuses settings and texts that cannot be run", async () => {
  const models = await pair();
  const settings = [{ policy: "none", budget: { ratio: 0.2 } }];
  await assert.rejects(
    () => forceSettings(models, { prompt: [1, 2] }, { ...LIMITS, settings }),
    /policy must be one of/,
  );
  await assert.rejects(
    () => forceSettings(models, { prompt: [] }, { ...LIMITS, settings: [] }),
    /tokens of its prompt must be an integer at least 1/,
  );
});

Deno.test("fittingSequences() shrinks with the length and never vanishes", async () => {
  const models = await pair();
  const counts = [64, 4_000, 100_000_000].map((tokens) => fittingSequences(models, tokens));
  assert.equal(counts[0], 64);
  assert.ok(counts[1]! <= counts[0]!);
  assert.equal(counts[2], 1);
});
