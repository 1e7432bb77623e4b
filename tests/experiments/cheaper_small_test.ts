/**
 * Tests of `experiments/cheaper_small.ts`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { cheaperSmall } from "../../experiments/cheaper_small.ts";
import type { ExperimentContext } from "../../experiments/experiment.ts";
import { fakeContext, fakeModel, withManyTexts } from "./fake_models.ts";
import { runAll } from "./fake_runs.ts";

function context(isDefaultPair: boolean): ExperimentContext {
  const large = fakeModel("Large", { layers: 4, queryHeads: 4, kvHeads: 2, seed: 1 });
  const small = fakeModel("Small", { layers: 6, queryHeads: 2, kvHeads: 1, seed: 2 });
  const other = fakeModel("Other", { layers: 3, queryHeads: 2, kvHeads: 1, seed: 3 });
  const base = fakeContext({ large, small }, { isDefaultPair, words: 420 });
  return withManyTexts({ ...base, ...(!isDefaultPair && { other }) });
}

for (const isDefaultPair of [true, false]) {
  const models = isDefaultPair ? "the embedded pair" : "another pair and a third model";
  Deno.test(`cheaper_small compares every small model at both budgets with ${models}`, async () => {
    const { units, result } = await runAll(cheaperSmall, context(isDefaultPair));
    assertEquals(new Set(units.map(({ key }) => key)).size, units.length);
    const [table] = result.tables;
    const names = table!.rows.map((row) => row[table!.columns.indexOf("small model")]);
    const expected = [
      "matched row, all layers",
      ...[8, "8/4", 4].map((bits) => `matched row, all layers, ${bits}-bit cache`),
      ...[1, 2, 3, 6].map((layers) => `fitted map, ${layers} of 6 layers`),
      "fitted map, 6 of 6 layers, 4-bit cache",
      ...(isDefaultPair
        ? []
        : [1, 3].map((layers) => `fitted map, own tokens, ${layers} of 3 layers`)),
    ];
    assertEquals(names, [...expected, ...expected]);
    for (const row of table!.rows) for (const cell of row) assert(cell !== null);
    assertEquals(
      Object.keys(result.values),
      [5, 10].flatMap((percent) =>
        ["third", ...(isDefaultPair ? [] : ["own"]), "bits"].map((name) => `${name}${percent}`)
      ),
    );
    for (const measured of Object.values(result.values)) {
      assert(measured!.low <= measured!.value && measured!.value <= measured!.high);
    }
  });
}
