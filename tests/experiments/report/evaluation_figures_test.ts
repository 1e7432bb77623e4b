import { assertEquals } from "@std/assert";
import { depthFigures } from "../../../experiments/report/evaluation_figures.ts";
import { itemScore } from "../../evaluation/item_scores.ts";

const RULER = { name: "ruler", title: "RULER" };

function needles(ratio: number, depths: readonly number[], score: (depth: number) => number) {
  return [1024, 2048].flatMap((length) =>
    depths.map((depth) =>
      itemScore({
        task: "ruler",
        group: `niah_single_1/${length}`,
        setting: "h2o",
        budget: { ratio },
        facts: { depths: [depth] },
        score: score(depth),
      })
    )
  );
}

Deno.test("depthFigures() maps depth by length and budget, as finely as the items fill it", () => {
  const depths = [0, 0.3, 0.6, 1];
  const [figure, ...others] = depthFigures(RULER, [
    ...needles(0.1, depths, (depth) => depth < 0.5 ? 0 : 1),
    ...needles(0.2, depths, (depth) => depth < 0.25 ? 0 : 1),
  ]);
  assertEquals(others, []);
  const [{ x, y, z }] = [figure!.series[0]!];
  assertEquals(x, [
    "1024 tokens at 0.1",
    "1024 tokens at 0.2",
    "2048 tokens at 0.1",
    "2048 tokens at 0.2",
  ]);
  assertEquals(y, ["0 to 25", "25 to 50", "50 to 75", "75 to 100"]);
  assertEquals(z, [[0, 0, 0, 0], [0, 100, 0, 100], [100, 100, 100, 100], [100, 100, 100, 100]]);
});

Deno.test("depthFigures() draws nothing of items without a single needle", () => {
  assertEquals(depthFigures(RULER, [itemScore({ facts: { depths: [0.1, 0.9] } })]), []);
  assertEquals(depthFigures(RULER, needles(0.1, [0.1], () => 1)), []);
});
