import { assertEquals, assertRejects } from "@std/assert";
import embeddedJson from "../../data/embedded/small/tokenizer.json" with { type: "json" };
import { DataError } from "../../core/check.ts";
import { generateAll } from "../../decoding/text/generate.ts";
import { evaluate, type EvaluateOptions, planEvaluation } from "../../evaluation/evaluate.ts";
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

/** The embedded pair with a small model of another vocabulary, which joins fewer letters if asked. */
async function otherPair(merges = embeddedJson.model.merges.length) {
  const { large, small } = await embeddedModels("cpu");
  const { model } = embeddedJson;
  const vocab: Record<string, number> = { ...model.vocab };
  [vocab["a"], vocab["b"]] = [vocab["b"]!, vocab["a"]!];
  const json = {
    ...embeddedJson,
    model: { ...model, vocab, merges: model.merges.slice(0, merges) },
  };
  return { large, small: { ...small, tokenizer: createTokenizer({ json, config: {} }) } };
}

Deno.test("evaluate() lets a small model of another vocabulary read in tokens of its own", async () => {
  const pair = await otherPair();
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
  const pair = await otherPair();
  const run = (more: Partial<EvaluateOptions>) =>
    Array.fromAsync(evaluate(pair, { ...REQUEST, ...more }));
  const guided = () => run({ policies: ["smallkv"] });
  await assertRejects(guided, DataError, "both models must have one vocabulary");
  const alone = () => run({ policies: ["full"], smallAlone: true });
  await assertRejects(alone, DataError, "Cannot evaluate the small model alone: both models must");
});

Deno.test("evaluate() leaves out items whose text has more of the small model's own tokens than it can read", async () => {
  const pair = await otherPair(0);
  const plan = async (policy: string) => {
    const request = { ...REQUEST, policies: [policy] };
    return await planEvaluation(pair, request, { rows: [], code: "" });
  };
  const whole = await plan("h2o");
  assertEquals([whole.questions.length, whole.skipped.length], [2, 0]);
  const { questions, skipped } = await plan(OWN);
  assertEquals([questions.length, skipped.length], [0, 2]);
  for (const [index, { item, capacity }] of whole.questions.entries()) {
    const letters = pair.small.tokenizer.encode(item.turns[0]!).length;
    assertEquals(skipped[index]!.skipped, {
      tokens: letters + item.maxTokens,
      context: 2 * capacity,
    });
  }
});
