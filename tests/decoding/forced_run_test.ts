import assert from "node:assert/strict";
import type { Selection } from "../../cache/policy.ts";
import { attentionRows } from "../../decoding/attention_rows.ts";
import { type ForcedText, ForcedTexts } from "../../decoding/forced_run.ts";
import { freeRun } from "../../decoding/free_run.ts";
import type { PolicySetting } from "../../decoding/policy_setting.ts";
import { heldHalves, stepCost } from "../../decoding/selection_cost.ts";
import { traceAttention } from "../../decoding/trace.ts";
import { embeddedModel, someTokens } from "../support/embedded_model.ts";
import { hasGpu } from "../support/gpu.ts";

/** On one back end: the parts below are tested on both by themselves. */
const BACKEND = hasGpu ? "webgpu" : "reference";

async function pair() {
  return {
    large: await embeddedModel("large", BACKEND),
    small: await embeddedModel("small", BACKEND),
  };
}

function text(prompt: number, continuation: number): ForcedText {
  const tokens = someTokens(prompt + continuation);
  return { prompt: tokens.slice(0, prompt), continuation: tokens.slice(prompt) };
}

const TEXTS = [text(120, 6), text(131, 3)];
const FULL: PolicySetting = { policy: "full", budget: { ratio: 1 } };

Deno.test("a whole cache under any policy strays by rounding alone", async () => {
  const forced = await ForcedTexts.open(await pair(), TEXTS);
  for (const policy of ["full", "h2o", "smallkv", "smallkv_query_aware"]) {
    for (const run of await forced.run({ policy, budget: { ratio: 1 } })) {
      assert.ok(run.kl.every((kl) => kl < 1e-4), `${policy}: ${run.kl}`);
      assert.deepEqual(run.chosen, run.reference);
      assert.ok(run.cost.slice(1).every((cost) => cost === 1), `${policy}: ${run.cost}`);
      assert.ok(run.loaded.every((loaded) => loaded === 0));
    }
  }
});

Deno.test("texts of other lengths beside it change nothing", async () => {
  const models = await pair();
  const setting: PolicySetting = { policy: "smallkv", budget: { ratio: 0.2 } };
  const together = await (await ForcedTexts.open(models, TEXTS)).run(setting);
  for (const [index, own] of TEXTS.entries()) {
    const [alone] = await (await ForcedTexts.open(models, [own])).run(setting);
    assert.equal(together[index]!.kl.length, own.continuation.length);
    assert.deepEqual(together[index], alone);
  }
});

Deno.test("costs are those of the selections, within the budget", async () => {
  const forced = await ForcedTexts.open(await pair(), TEXTS);
  const seen: Selection[][] = [];
  const [run] = await forced.run({ policy: "smallkv_query_aware", budget: { ratio: 0.2 } }, {
    onSelections: ({ text, selections }) => {
      if (text === 0) seen.push([...selections]);
    },
  });
  assert.equal(seen.length, TEXTS[0]!.continuation.length - 1);
  seen.forEach((selections, step) => {
    const tokens = TEXTS[0]!.prompt.length + step + 1;
    const cost = stepCost(seen[step - 1], selections, tokens);
    assert.equal(run!.cost[step + 1], cost.held);
    assert.equal(run!.loaded[step + 1], cost.loaded);
    assert.ok(cost.held <= 0.2);
  });
  assert.ok(run!.loaded.some((loaded) => loaded > 0));
  assert.ok(run!.kl.some((kl) => kl > 1e-3));
});

Deno.test("stepCost counts keys and values that come back, and not the newest token", () => {
  const selection = (kept: number[], marginal: number[]): Selection => ({
    kept: Uint32Array.from(kept),
    marginal: Uint32Array.from(marginal),
  });
  const before = selection([0, 1, 8], [2, 3]);
  // 2 gains its key, 3 stays, 5 comes with both, 6 with its value, 9 is the newest
  const now = selection([1, 2, 5, 9], [3, 6]);
  assert.equal(heldHalves(now), 10);
  const cost = stepCost([before], [now], 10);
  assert.equal(cost.held, 10 / 20);
  assert.equal(cost.loaded, 2 + 2);
  assert.equal(cost.churn, 2 / 5);
  assert.deepEqual(stepCost(undefined, [now], 10), { held: 0.5, churn: 0, loaded: 0 });
});

Deno.test("freeRun() writes what forcing its own words would choose, and stops at end tokens", async () => {
  const models = await pair();
  const prompts = TEXTS.map(({ prompt }) => prompt);
  const setting: PolicySetting = { policy: "h2o", budget: { ratio: 0.3 } };
  const written = await freeRun(models, prompts, { setting, maxNew: 5, endTokens: [] });
  assert.deepEqual(written.map(({ length }) => length), [5, 5]);
  const texts = prompts.map((prompt, index) => ({ prompt, continuation: written[index]! }));
  const runs = await (await ForcedTexts.open(models, texts)).run(setting);
  assert.deepEqual(runs.map(({ chosen }) => chosen), written);
  const full = await freeRun(models, prompts, { setting: FULL, maxNew: 4, endTokens: [] });
  const end = full[0]![2]!;
  const [cut] = await freeRun(models, prompts, { setting: FULL, maxNew: 4, endTokens: [end] });
  assert.deepEqual(cut, full[0]!.slice(0, full[0]!.indexOf(end)));
});

Deno.test("attentionRows() are the last rows of whole maps", async () => {
  const { small } = await pair();
  const tokens = someTokens(50);
  const rows = await attentionRows(small, tokens, { first: 41 });
  const { maps } = await traceAttention(small, tokens, { heads: "all", accumulated: false });
  assert.equal(rows.length, maps.length * 9 * 50);
  maps.forEach(({ values }, head) => {
    const own = rows.subarray(head * 9 * 50, (head + 1) * 9 * 50);
    values.subarray(41 * 50).forEach((value, index) =>
      assert.ok(Math.abs(value - own[index]!) < 1e-5)
    );
  });
  await assert.rejects(() => attentionRows(small, tokens, { first: 50 }), /first row/);
});

Deno.test("settings that cannot be run are refused", async () => {
  const forced = await ForcedTexts.open(await pair(), TEXTS.slice(0, 1));
  const smallkv = { policy: "smallkv", budget: { ratio: 0.2 } };
  await assert.rejects(() => forced.run({ ...smallkv, policy: "none" }), /policy must be one of/);
  const cut = { ...smallkv, helperLayers: 4 };
  await assert.rejects(() => forced.run(cut), /layers that run must be an integer from 1 to 3/);
});

Deno.test("texts need a prompt and a continuation", async () => {
  const models = await pair();
  await assert.rejects(() => ForcedTexts.open(models, []), /number of texts/);
  const empty = { prompt: someTokens(5), continuation: [] };
  await assert.rejects(() => ForcedTexts.open(models, [empty]), /tokens of its continuation/);
});
