import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
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
  await assertRejects(() => openLab({ large: "a.gguf" }), UsageError);
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
    const { steps, labels } = runTiers(lab, written, { policy: "h2o", headGroup: 0 });
    assertEquals(steps.length, 3);
    assert(steps.every(({ tiers }) => tiers.length === labels.length));
    assertThrows(
      () => runTiers(lab, written, { policy: "tova", headGroup: 0 }),
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
