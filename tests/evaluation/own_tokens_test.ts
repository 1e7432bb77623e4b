import { assertEquals, assertRejects } from "@std/assert";
import embeddedJson from "../../data/embedded/small/tokenizer.json" with { type: "json" };
import { DataError } from "../../core/check.ts";
import { generateAll } from "../../decoding/text/generate.ts";
import { evaluate, type EvaluateOptions } from "../../evaluation/evaluate.ts";
import { itemScores } from "../../evaluation/summary.ts";
import { withOwnTokens } from "../../models/forward/own_tokens.ts";
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";
import { embeddedModels } from "../support/embedded_model.ts";
import { shortTask } from "./short_task.ts";

const TASK = shortTask();
const OWN = "smallkv_query_aware:small-tokens=own";
const REQUEST: EvaluateOptions = {
  tasks: [TASK],
  policies: ["h2o", OWN],
  budgets: [0.3],
  limit: 2,
};

/** The embedded pair with a small model that spells every text in bytes. */
async function bytewisePair() {
  const { large, small } = await embeddedModels("cpu");
  const json = { ...embeddedJson, model: { ...embeddedJson.model, merges: [] } };
  return { large, small: { ...small, tokenizer: createTokenizer({ json, config: {} }) } };
}

Deno.test("evaluate() lets a small model of another vocabulary read in tokens of its own", async () => {
  const pair = await bytewisePair();
  const rows = await Array.fromAsync(evaluate(pair, REQUEST));
  const items = await TASK.items({ folder: "" });
  const own = { large: pair.large, small: withOwnTokens(pair.small, pair.large) };
  assertEquals(itemScores(rows).map(({ setting }) => setting), ["h2o", "h2o", OWN, OWN]);
  for (const { item, policy, budget, answers, bytes, models } of rows) {
    const { turns: [prompt], maxTokens } = items.find(({ id }) => id === item)!;
    const { sequences, statistics: { memory } } = await generateAll(own, prompt!, {
      ...{ policy, budget, maxNewTokens: maxTokens },
    });
    assertEquals(answers.map(({ text }) => text), [sequences[0]!.text]);
    assertEquals(bytes.large, memory.large.cacheBytesIdeal);
    const isGuided = policy !== "h2o";
    assertEquals(bytes.small, isGuided ? memory.small!.cacheBytesIdeal : 0);
    assertEquals(models.small, isGuided ? pair.small.hash : undefined);
  }
});

Deno.test("evaluate() refuses a small model of another vocabulary where it would read the large one's tokens", async () => {
  const pair = await bytewisePair();
  const run = (more: Partial<EvaluateOptions>) =>
    Array.fromAsync(evaluate(pair, { ...REQUEST, ...more }));
  const guided = () => run({ policies: ["smallkv"] });
  await assertRejects(guided, DataError, "both models must have one vocabulary");
  const alone = () => run({ policies: ["full"], smallAlone: true });
  await assertRejects(alone, DataError, "Cannot evaluate the small model alone: both models must");
});
