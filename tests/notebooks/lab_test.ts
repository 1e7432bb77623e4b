import assert from "node:assert/strict";
import { UsageError } from "../../core/check.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { cacheFigure, comparePolicies, runTiers } from "../../notebooks/compare_policies.ts";
import { decodeShift, meanMissed, missedFigure } from "../../notebooks/decode_shift.ts";
import { openLab } from "../../notebooks/lab.ts";
import { measure, measured } from "../../notebooks/measure.ts";
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
    assert.equal(cacheFigure(written).series.length, 2);
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
  name: "decodeShift() follows every head under every chooser",
  ignore,
  async fn() {
    await using lab = await openLab({ device: await testDevice() });
    const shift = await decodeShift(lab, { steps: 4, budgetRatio: 0.3 });
    for (const heads of Object.values(shift.heads)) {
      assert.equal(heads.length, lab.large.config.layers * lab.large.config.queryHeads);
      assert.ok(heads.every((steps) => steps.length === 4));
    }
    assert.ok(meanMissed(shift, "h2o") > 0 && meanMissed(shift, "h2o") < 1);
    assert.equal(missedFigure(shift).series.length, 3);
  },
});
