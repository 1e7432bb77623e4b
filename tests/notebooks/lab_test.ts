import assert from "node:assert/strict";
import { UsageError } from "../../core/check.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { cacheFigure } from "../../notebooks/cache_figure.ts";
import { comparePolicies, runTiers } from "../../notebooks/compare_policies.ts";
import { decodeShifts } from "../../notebooks/decode_shift.ts";
import { openLab, pairName } from "../../notebooks/lab.ts";
import { showMatch } from "../../notebooks/match_table.ts";
import { measure, measured } from "../../notebooks/measure.ts";
import { meanMissed, missedFigure, missedGain } from "../../notebooks/missed.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";

const ignore = !hasGpu;

Deno.test("openLab() wants both models or none", async () => {
  await assert.rejects(openLab({ large: "a.gguf" }), UsageError);
});

Deno.test({
  name: "comparePolicies() runs the full cache first and keeps others to their budget",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const written = await comparePolicies(lab, { policies: ["h2o"], budget: 0.3, maxNewTokens: 4 });
    assert.deepEqual(written.runs.map(({ policy }) => policy), ["full", "h2o"]);
    const [full, h2o] = written.runs;
    assert.equal(full!.agreement, 1);
    assert.deepEqual(full!.cost, full!.length);
    h2o!.cost.forEach((cost, step) => assert.ok(cost <= 0.3 * h2o!.length[step]! + 1));
    assert.deepEqual(written.runs.map(({ hasHelper }) => hasHelper), [false, false]);
    assert.equal(cacheFigure(written).series.length, 2);
    assert.equal(pairName(lab), "micro-world large / micro-world small");
    const { steps, labels } = runTiers(lab, written, { policy: "h2o", unit: 0 });
    assert.equal(steps.length, 3);
    assert.ok(steps.every(({ tiers }) => tiers.length === labels.length));
    assert.throws(() => runTiers(lab, written, { policy: "tova", unit: 0 }), /one of full, h2o/);
    const signal = AbortSignal.abort(new Error("stopped"));
    await assert.rejects(comparePolicies(lab, { policies: ["h2o"], signal }), /stopped/);
  },
});

Deno.test({
  name: "measure() runs an experiment, or a part of it, without files",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const record = await measure(lab, fig9, { only: /^(roll|route)\/0$/ });
    assert.equal(record.units, 2);
    assert.equal(measured(record, "sameFamily").n, 2);
    assert.throws(() => measured(record, "nothing"), /key must be one of sameFamily/);
    const signal = AbortSignal.abort(new Error("stopped"));
    await assert.rejects(measure(lab, fig9, { signal }), /stopped/);
  },
});

Deno.test({
  name: "decodeShifts() follows every head under every chooser",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const prompts = lab.prompts.slice(0, 2);
    const shifts = await decodeShifts({ ...lab, prompts }, { steps: 4, budgetRatio: 0.3 });
    assert.equal(shifts.length, 2);
    const shift = shifts[0]!;
    for (const heads of Object.values(shift.heads)) {
      assert.equal(heads.length, lab.large.config.layers * lab.large.config.queryHeads);
      assert.ok(heads.every((steps) => steps.length === 4));
    }
    const [h2o, guided] = [meanMissed(shifts, "h2o"), meanMissed(shifts, "helperRow")];
    assert.ok(h2o.low > 0 && h2o.high < 100);
    const gain = missedGain(shifts, "helperRow");
    assert.ok(Math.abs(gain.value - (h2o.value - guided.value)) < 1e-9);
    assert.ok(gain.low < gain.value && gain.value < gain.high);
    assert.equal(missedFigure(shift).series.length, 3);
  },
});

Deno.test({
  name: "showMatch() matches every large head",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const { match, cosine, jaccard } = await showMatch(lab);
    assert.equal(match.match.length, lab.large.config.layers * lab.large.config.queryHeads);
    assert.ok(cosine.low > 0.5 && jaccard.high < 1);
  },
});
