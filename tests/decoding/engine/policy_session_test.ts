import { assert, assertEquals, assertThrows } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import type { ModelPair, StepReport } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { embeddedModel, embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

/** Token ids of micro-world prompts. */
async function prompts(count: number): Promise<number[][]> {
  const { tokenizer } = await embeddedModel("large", "reference");
  const tasks = ["route", "ask", "qa", "sums", "roll"] as const;
  return tasks.flatMap((task) => evaluationItems(task, { count: Math.ceil(count / 5) }))
    .slice(0, count)
    .map(({ prompt }) => tokenizer!.encode(prompt));
}

async function greedy(pair: ModelPair, name: string, options: {
  readonly tokens: readonly number[];
  readonly ratio: number;
  readonly steps: number;
}): Promise<number[]> {
  const { tokens, ratio, steps } = options;
  using session = new PolicySession(pair, {
    policy: createPolicy(name),
    budget: { ratio },
    capacity: tokens.length + steps + 1,
  });
  await session.prefill(tokens);
  const chosen = await session.nextTokens();
  for (let step = 0; step < steps; step++) chosen.push(...(await session.step()).chosen);
  return chosen;
}

for (const backend of testBackends) {
  Deno.test(`PolicySession keeps what the counts say and never more on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const [tokens] = await prompts(1);
    for (const { name } of POLICIES) {
      const policy = createPolicy(name);
      using session = new PolicySession(pair, {
        policy,
        budget: { ratio: 0.2 },
        capacity: tokens!.length + 6,
      });
      await session.prefill(tokens!);
      for (let step = 1; step <= 3; step++) {
        checkReport(await session.step(), { name, length: tokens!.length + step });
      }
    }
  });
}

function checkReport(
  report: StepReport,
  { name, length }: { readonly name: string; readonly length: number },
): void {
  for (const { full, valueOnly } of report.selections[0]!) {
    assert(full.includes(length - 1), `${name} must keep the newest token`);
    assertEquals([...full], [...full].sort((a, b) => a - b), `${name} must list in order`);
    assertEquals(new Set([...full, ...valueOnly]).size, full.length + valueOnly.length, name);
    if (name === "smallkv") assert(2 * full.length + valueOnly.length <= 2 * 0.2 * length, name);
  }
}

Deno.test("PolicySession gives a sequence of a batch what it gives it alone", async () => {
  const backend = testBackends[0]!;
  const pair = await embeddedModels(backend);
  const texts = await prompts(3);
  for (const name of ["smallkv", "smallkv_query_aware", "h2o", "streaming", "pyramid_budget"]) {
    const alone: number[][] = [];
    for (const tokens of texts) {
      alone.push(await greedy(pair, name, { tokens, ratio: 0.2, steps: 6 }));
    }
    const capacity = Math.max(...texts.map(({ length }) => length)) + 7;
    using batch = new PolicySession(pair, {
      policy: createPolicy(name),
      budget: { ratio: 0.2 },
      capacity,
      sequences: 3,
    });
    for (const [sequence, tokens] of texts.entries()) await batch.prefill(tokens, { sequence });
    const chosen = (await batch.nextTokens()).map((token) => [token]);
    for (let step = 0; step < 6; step++) {
      (await batch.step()).chosen.forEach((token, sequence) => chosen[sequence]!.push(token));
    }
    assertEquals(chosen, alone, name);
  }
});

Deno.test("PolicySession refuses a small model of another vocabulary, and none where one is needed", async () => {
  const { large, small } = await embeddedModels("reference");
  const options = { policy: createPolicy("smallkv"), budget: { ratio: 0.2 }, capacity: 64 };
  assertThrows(() => new PolicySession({ large }, options), Error, "a small model must be given");
  const { tokenizer: _, ...bare } = small!;
  const other = { ...bare, config: { ...small!.config, vocabulary: 700 } };
  assertThrows(
    () => new PolicySession({ large, small: other }, options),
    Error,
    "must have the vocabulary of the large one, 768 tokens: current value is 700",
  );
});
