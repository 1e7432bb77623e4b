import { assertEquals } from "@std/assert";
import { drafts } from "../../experiments/drafts.ts";
import { fakeModel } from "./fake_models.ts";

Deno.test("drafts averages passes over texts, each policy by itself", () => {
  const model = fakeModel("Model", { layers: 2, queryHeads: 2, seed: 1 });
  const cell = (key: string, tokensPerPass: number) => {
    return { key, tokensPerPass, smallPerToken: 1.5, accepted: 0.5 };
  };
  const { values, tables } = drafts.summarise({
    units: [
      { key: "a", value: [cell("smallkv", 2), cell("queryAware", 4)] },
      { key: "b", value: [cell("smallkv", 3), cell("queryAware", 5)] },
      { key: "c", value: [] }, // ended before the first block
    ],
    scale: "small",
    seed: 1,
    large: model,
    small: model,
    isDefaultPair: true,
  });
  assertEquals([values["tokensPerPass"]!.value, values["smallPerToken"]!.value], [2.5, 1.5]);
  assertEquals(tables[0]!.rows.map((row) => row.at(-1)), [2, 2]);
});
