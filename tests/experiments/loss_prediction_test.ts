import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../core/random.ts";
import type { TextLoss } from "../../experiments/decoded/head_losses.ts";
import { lossPrediction } from "../../experiments/loss_prediction.ts";
import { fakeModel } from "./fake_models.ts";

const model = fakeModel("Model", { layers: 2, queryHeads: 2, seed: 1 });

function summary(texts: readonly TextLoss[]) {
  return lossPrediction.summarise({
    units: texts.map((text) => ({ key: text.id, value: JSON.parse(JSON.stringify(text)) })),
    scale: "small",
    seed: 1,
    large: model,
    small: model,
    isDefaultPair: false,
  });
}

/** Texts whose heads keep what `massOf` says, and lose more the less they resemble. */
function texts(massOf: (similarity: number, head: number) => number): TextLoss[] {
  const random = seededRandom(3);
  return Array.from({ length: 8 }, (_, index) => {
    const similarity = Array.from({ length: 6 }, () => random());
    const mean = similarity.reduce((sum, value) => sum + value, 0) / 6;
    const mass = similarity.map(massOf);
    const loss = { mass, kl: Math.exp(1 - 4 * mean), score: index % 2 };
    const losses = { "0.05": loss, "0.1": loss, "0.2": loss };
    return { id: String(index), similarity, withoutFirst: similarity.map(() => random()), losses };
  });
}

Deno.test("lossPrediction finds what similarity explains on texts held out", () => {
  const { values } = summary(texts((similarity) => 0.2 + 0.5 * similarity));
  assert(values["headExplained"]!.low > 95);
  assert(Math.abs(values["headRank"]!.value - 1) < 1e-9);
  assert(values["textRank"]!.value === -1 && values["textExplained"]!.value > 80);
  assert(values["otherExplained"]!.value < 10);
});

Deno.test("lossPrediction finds nothing where the head alone decides", () => {
  const { values, tables } = summary(texts((_, head) => 0.1 * head));
  assert(values["headExplained"]!.value < 10);
  assertEquals(Math.round(values["otherExplained"]!.value), 100);
  const targets = new Set(tables[1]!.rows.map((row) => row[1]));
  assertEquals([...targets], ["divergence (logarithm)", "score"]);
});

Deno.test("lossPrediction says nothing of too few texts", () => {
  const { values, notes } = summary(texts((similarity) => similarity).slice(0, 3));
  assertEquals(values, {});
  assertEquals(notes.length, 1);
});
