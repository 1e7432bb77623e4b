import { assert, assertEquals, assertRejects } from "@std/assert";
import { klDivergence, largestIndex } from "../../../analysis/quality.ts";
import type { Selection } from "../../../cache/policy.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import {
  type TeacherForcedText,
  teacherForceSettings,
} from "../../../decoding/forced/teacher_force_settings.ts";
import { freeRun } from "../../../decoding/forced/free_run.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import {
  fittingSequences,
  openSetting,
  type PolicySetting,
} from "../../../decoding/engine/settings.ts";
import { stepCost } from "../../../decoding/selection/cost.ts";
import { Session } from "../../../decoding/session/session.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu } from "../../support/gpu.ts";

const BACKEND = hasGpu ? gpuBackend : "reference";
const SETTINGS: readonly PolicySetting[] = [
  { policy: "smallkv", budget: { ratio: 0.2 }, options: { granularity: "query_head" } },
  { policy: "full", budget: { ratio: 1 } },
  { policy: "h2o", budget: { ratio: 0.2 } },
  { policy: "smallkv", budget: { ratio: 0.1 } },
  { policy: "smallkv", budget: { ratio: 0.2 }, options: { reduction: "max" } },
  { policy: "tova", budget: { ratio: 0.2 } },
];
const FULL: PolicySetting = { policy: "full", budget: { ratio: 1 } };
const LIMITS = { newTokens: 5, endTokens: [] };

/** Predictions of the full cache, from one prefill of the whole text. */
async function reference(models: ModelPair, { prompt, continuation }: TeacherForcedText) {
  const rows: Float32Array[] = [];
  using session = new Session(models.large, { capacity: prompt.length + continuation.length });
  await session.prefill(prompt.slice(0, -1), { logits: "none" });
  const { vocabulary } = models.large.config;
  await session.prefill([prompt.at(-1)!, ...continuation.slice(0, -1)], {
    logits: "all",
    onLogits(logits) {
      for (let row = 0; row < logits.length / vocabulary; row++) {
        rows.push(logits.slice(row * vocabulary, (row + 1) * vocabulary));
      }
    },
  });
  return rows;
}

/** Divergence and choices of one policy alone, without any of the code under test. */
async function runAlone(models: ModelPair, text: TeacherForcedText, setting: PolicySetting) {
  const { prompt, continuation } = text;
  const rows = await reference(models, text);
  const capacity = prompt.length + continuation.length + 1;
  using session = openSetting(models, setting, { sequences: 1, capacity });
  const logits: Float32Array[] = [];
  const selections: (readonly Selection[])[] = [];
  await session.prefill(prompt, { onLogits: (row) => logits.push(row) });
  for (const token of continuation.slice(0, -1)) {
    const report = await session.step({ tokens: [token], logits: true });
    logits.push(report.logits!);
    selections.push(report.selections[0]!);
  }
  return {
    kl: logits.map((row, step) => klDivergence(rows[step]!, row)),
    chosen: logits.map(largestIndex),
    reference: rows.map(largestIndex),
    selections,
  };
}

Deno.test("teacherForceSettings() gives many settings what each gives alone", async () => {
  const models = await embeddedModels(BACKEND);
  const all = someTokens(126);
  const text = { prompt: all.slice(0, 120), continuation: all.slice(120) };
  const progress: string[] = [];
  const seen: (readonly Selection[])[][] = SETTINGS.map(() => []);
  const together = await teacherForceSettings(models, text, {
    ...LIMITS,
    settings: SETTINGS,
    sequences: 2,
    onProgress: (done, total) => progress.push(`${done}/${total}`),
    onSelections: ({ setting, step, selections }) => seen[setting]![step] = selections,
  });
  assertEquals(progress.at(-1), "25/25");
  for (const [index, setting] of SETTINGS.entries()) {
    const alone = await runAlone(models, text, setting);
    const { kl, chosen, reference, cost, churn, loaded } = together[index]!;
    assertEquals(seen[index], alone.selections);
    assertEquals([chosen, reference], [alone.chosen, alone.reference]);
    kl.forEach((value, step) => assert(Math.abs(value - alone.kl[step]!) < 1e-4, `${value}`));
    alone.selections.forEach((selections, step) => {
      const expected = stepCost(alone.selections[step - 1], selections, 121 + step);
      const actual = { held: cost[step + 1], churn: churn[step + 1], loaded: loaded[step + 1] };
      assertEquals(actual, { ...expected });
    });
  }
  assert(together[1]!.kl.every((kl) => kl < 1e-6), "the full cache strays from itself");
  assert(together[3]!.kl.some((kl) => kl > 1e-3), "a tenth of the cache must stray");
});

Deno.test("a whole cache under any policy diverges only by rounding", async () => {
  const all = someTokens(126);
  const text = { prompt: all.slice(0, 120), continuation: all.slice(120) };
  const settings = ["full", "h2o", "smallkv", "smallkv_query_aware"].map((policy) => ({
    policy,
    budget: { ratio: 1 },
  }));
  for (
    const run of await teacherForceSettings(await embeddedModels(BACKEND), text, {
      ...LIMITS,
      settings,
    })
  ) {
    assert(run.kl.every((kl) => kl < 1e-4), `${run.kl}`);
    assertEquals(run.chosen, run.reference);
    assert(run.cost.slice(1).every((cost) => cost === 1), `${run.cost}`);
    assert(run.loaded.every((loaded) => loaded === 0));
  }
});

Deno.test("freeRun() writes what teacher forcing of its text would choose, and stops at end tokens", async () => {
  const models = await embeddedModels(BACKEND);
  const all = someTokens(131);
  const prompts = [all.slice(0, 120), all];
  const setting: PolicySetting = { policy: "h2o", budget: { ratio: 0.3 } };
  const written = await freeRun(models, prompts, { setting, maxNew: 5, endTokens: [] });
  assertEquals(written.map(({ length }) => length), [5, 5]);
  for (const [index, prompt] of prompts.entries()) {
    const text = { prompt, continuation: written[index]! };
    const [run] = await teacherForceSettings(models, text, { ...LIMITS, settings: [setting] });
    assertEquals(run!.chosen, written[index]);
  }
  const full = await freeRun(models, prompts, { setting: FULL, maxNew: 4, endTokens: [] });
  const end = full[0]![2]!;
  const [cut] = await freeRun(models, prompts, { setting: FULL, maxNew: 4, endTokens: [end] });
  assertEquals(cut, full[0]!.slice(0, full[0]!.indexOf(end)));
});

Deno.test("teacherForceSettings() uses the continuation of the full cache where a text has none", async () => {
  const models = await embeddedModels(BACKEND);
  const [item] = evaluationItems("route", { count: 1 });
  const prompt = models.large.tokenizer!.encode(item!.prompt);
  const run = async (endTokens: readonly number[]) => {
    const [written] = await freeRun(models, [prompt], { setting: FULL, maxNew: 5, endTokens });
    const runs = await teacherForceSettings(models, { prompt }, {
      newTokens: 5,
      endTokens,
      settings: SETTINGS.slice(0, 3),
    });
    return { written: written!, runs };
  };
  const whole = await run([]);
  for (const { reference, kl } of whole.runs) {
    assertEquals(reference, whole.written);
    assertEquals(kl.length, 5);
  }
  const cut = await run([whole.written.find((token) => token !== whole.written[0])!]);
  assert(cut.written.length < 5);
  for (const { reference } of cut.runs) assertEquals(reference, cut.written);
  const begun = await run([whole.written[0]!]);
  for (const { reference, kl } of begun.runs) {
    assertEquals([reference, kl.length], [[whole.written[0]], 1]);
  }
});

Deno.test("teacherForceSettings() counts the same bytes in every batch of a text that ends", async () => {
  const models = await embeddedModels(BACKEND);
  const prompt = someTokens(120);
  const [written] = await freeRun(models, [prompt], { setting: FULL, maxNew: 5, endTokens: [] });
  const end = written!.find((token) => token !== written![0])!;
  const setting: PolicySetting = { policy: "h2o", budget: { ratio: 0.9 } };
  const runs = await teacherForceSettings(models, { prompt }, {
    newTokens: 5,
    endTokens: [end],
    settings: [setting, setting, setting],
    sequences: 2,
  });
  assertEquals(runs.map(({ bytes }) => bytes), runs.map(() => runs[2]!.bytes));
});

Deno.test("teacherForceSettings() refuses settings and texts that cannot be run", async () => {
  const models = await embeddedModels(BACKEND);
  const settings = [{ policy: "none", budget: { ratio: 0.2 } }];
  await assertRejects(
    () => teacherForceSettings(models, { prompt: [1, 2] }, { ...LIMITS, settings }),
    Error,
    "policy must be one of",
  );
  const cut = [{ policy: "smallkv", budget: { ratio: 0.2 }, smallLayers: 4 }];
  await assertRejects(
    () => teacherForceSettings(models, { prompt: [1, 2] }, { ...LIMITS, settings: cut }),
    Error,
    "layers that run must be an integer from 1 to 3",
  );
  await assertRejects(
    () => teacherForceSettings(models, { prompt: [] }, { ...LIMITS, settings: [] }),
    Error,
    "tokens of its prompt must be an integer at least 1",
  );
});

Deno.test("fittingSequences() shrinks with the length and never vanishes", async () => {
  const models = await embeddedModels(BACKEND);
  const counts = [64, 4_000, 100_000_000].map((tokens) => fittingSequences(models, tokens));
  assertEquals(counts[0], 64);
  assert(counts[1]! <= counts[0]!);
  assertEquals(counts[2], 1);
});
