import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TIER } from "../../cache/token_tier.ts";
import { RequirementError, UsageError } from "../../core/check.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { cacheFigure } from "../../notebooks/cache_figure.ts";
import { comparePolicies, runTiers } from "../../notebooks/compare_policies.ts";
import { decodeShifts } from "../../notebooks/decode_shift.ts";
import { openLab, pairName } from "../../notebooks/lab.ts";
import { compareLabHeads } from "../../notebooks/lab_heads.ts";
import { showMatch } from "../../notebooks/match_table.ts";
import { measure, measured } from "../../notebooks/measure.ts";
import { meanMissed, missedFigure, missedGain } from "../../notebooks/missed.ts";
import { sideBySide } from "../../notebooks/side_by_side.ts";
import { policiesView } from "../../notebooks/views/policies_view.tsx";
import { hasGpu, testDevice } from "../support/gpu.ts";

const ignore = !hasGpu;

Deno.test("openLab() wants both models or none", async () => {
  await assertRejects(() => openLab({ large: "a.gguf" }), UsageError);
});

Deno.test("openLab() quotes a SMALLKV_PATIENCE that is no number", async () => {
  Deno.env.set("SMALLKV_PATIENCE", "much");
  try {
    await assertRejects(() => openLab(), RequirementError, "above 0: current value is much");
  } finally {
    Deno.env.delete("SMALLKV_PATIENCE");
  }
});

Deno.test({
  name: "comparePolicies() runs the full cache first and keeps others to their budget",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const written = await comparePolicies(lab, { policies: ["h2o"], budget: 0.3, maxNewTokens: 4 });
    assertEquals(written.runs.map(({ policy }) => policy), ["full", "h2o"]);
    const [full, h2o] = written.runs;
    assertEquals(full!.agreement, 1);
    assertEquals(full!.cost, full!.length);
    h2o!.cost.forEach((cost, step) => assert(cost <= 0.3 * h2o!.length[step]! + 1));
    assertEquals(written.runs.map(({ hasSmallModel }) => hasSmallModel), [false, false]);
    assertEquals(cacheFigure(written).series.length, 2);
    assertEquals(pairName(lab), "micro-world large / micro-world small");
    const { steps, labels } = runTiers(lab, written, { policy: "h2o", layer: 0, head: 0 });
    assertEquals(steps.length, 3);
    assertEquals(steps.map(({ length }) => length), h2o!.length);
    assertEquals(labels.length, steps.at(-1)!.length);
    assertThrows(
      () => runTiers(lab, written, { policy: "tova", layer: 0, head: 0 }),
      Error,
      "one of full, h2o",
    );
    const signal = AbortSignal.abort(new Error("stopped"));
    await assertRejects(
      () => comparePolicies(lab, { policies: ["h2o"], signal }),
      Error,
      "stopped",
    );
  },
});

Deno.test({
  name: "sideBySide() has every policy read what the full cache writes",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const policies = ["h2o", "smallkv"];
    const side = await sideBySide(lab, { policies, budget: 0.3, maxNewTokens: 5 });
    const [full, h2o, smallkv] = side.runs;
    assertEquals(side.runs.map(({ policy }) => policy), ["full", ...policies]);
    assertEquals([full!.chosen, full!.kl], [side.written, [0, 0, 0, 0]]);
    const { layers, kvHeads } = lab.large.config;
    const length = side.prompt.length + side.written.length - 1;
    for (const { tiers, chosen, kl } of side.runs) {
      assertEquals([tiers.length, chosen.length, kl.length], [layers * kvHeads * length, 5, 4]);
    }
    assert(full!.tiers.every((tier) => tier >= TIER.critical));
    const held = h2o!.tiers.filter((tier) => tier >= TIER.critical).length;
    assert(held <= 0.3 * h2o!.tiers.length + layers * kvHeads && !h2o!.tiers.includes(TIER.host));
    assert(smallkv!.tiers.includes(TIER.marginal) && smallkv!.tiers.includes(TIER.host));
    assertEquals([h2o, smallkv].map((run) => run!.bytes.host > 0), [false, true]);
    assert([h2o, smallkv].every((run) => run!.bytes.device < 0.4 * full!.bytes.device));
    assert(h2o!.kl.some((kl) => kl > 0) && h2o!.bytes.small === 0 && smallkv!.bytes.small > 0);
    const view = policiesView(lab, side, { name: "n", title: "T", place: { layer: 2, head: 0 } });
    assertEquals(view.page.split("<article").length, 4);
    const heads = await compareLabHeads(lab);
    assertEquals(heads.labels.length, heads.comparison.tokens);
  },
});

Deno.test({
  name: "measure() runs an experiment, or a part of it, without files",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const record = await measure(lab, fig9, { only: /^(roll|route)\/0$/ });
    assertEquals(record.units, 2);
    assertEquals(measured(record, "sameFamily").n, 2);
    assertThrows(() => measured(record, "nothing"), Error, "key must be one of sameFamily");
    const signal = AbortSignal.abort(new Error("stopped"));
    await assertRejects(() => measure(lab, fig9, { signal }), Error, "stopped");
  },
});

Deno.test({
  name: "decodeShifts() follows every head under every chooser",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const prompts = lab.prompts.slice(0, 2);
    const shifts = await decodeShifts({ ...lab, prompts }, { steps: 4, budgetRatio: 0.3 });
    assertEquals(shifts.length, 2);
    const shift = shifts[0]!;
    for (const heads of Object.values(shift.heads)) {
      assertEquals(heads.length, lab.large.config.layers * lab.large.config.queryHeads);
      assert(heads.every((steps) => steps.length === 4));
    }
    const [h2o, guided] = [meanMissed(shifts, "h2o"), meanMissed(shifts, "smallRow")];
    assert(h2o.low > 0 && h2o.high < 100);
    const gain = missedGain(shifts, "smallRow");
    assert(Math.abs(gain.value - (h2o.value - guided.value)) < 1e-9);
    assert(gain.low < gain.value && gain.value < gain.high);
    assertEquals(missedFigure(shift).series.length, 3);
  },
});

Deno.test({
  name: "showMatch() matches every large head",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const { match, cosine, jaccard } = await showMatch(lab);
    assertEquals(match.match.length, lab.large.config.layers * lab.large.config.queryHeads);
    assert(cosine.low > 0.5 && jaccard.high < 1);
  },
});
