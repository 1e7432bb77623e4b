import { assertEquals } from "@std/assert";
import { evaluationItems } from "../../data/microworld.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import { sequenceSetting, settingBatches } from "../../decoding/engine/settings.ts";
import { Session } from "../../decoding/session/session.ts";
import { loadModel } from "../../models/load.ts";
import { embeddedModel, embeddedModels } from "../support/embedded_model.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { realModel } from "../support/real_models.ts";
import { COMPRESSING } from "./decode.ts";

/**
 * Invariant 1 of docs/method.md, on text: with the whole budget every policy writes what the full cache writes. All
 * policies decode a prompt side by side, those with an index of keys apart from the others.
 */

/** Prompts of the micro-world, as token ids. */
async function prompts(count: number): Promise<number[][]> {
  const { tokenizer } = await embeddedModel("large", "reference");
  const tasks = ["route", "ask", "qa", "sums", "roll"] as const;
  const each = Math.ceil(count / tasks.length);
  return tasks.flatMap((task) => evaluationItems(task, { count: each }))
    .slice(0, count)
    .map(({ prompt }) => tokenizer!.encode(prompt));
}

/** Greedy tokens of each policy with the whole budget. */
async function writeAll(
  pair: ModelPair,
  prompt: readonly number[],
  steps: number,
): Promise<Record<string, number[]>> {
  const settings = COMPRESSING.map((policy) => ({ policy, budget: { ratio: 1 } }));
  const all: Record<string, number[]> = {};
  for (const batch of settingBatches(settings, settings.length)) {
    const names = batch.map((index) => COMPRESSING[index]!);
    using session = new PolicySession(pair, {
      settings: batch.map((index) => sequenceSetting(settings[index]!)),
      capacity: prompt.length + steps + 1,
    });
    await session.prefill(prompt, { sequence: [...batch.keys()] });
    const written = (await session.nextTokens()).map((token) => [token]);
    for (let step = 0; step < steps; step++) {
      (await session.step()).chosen.forEach((token, sequence) => written[sequence]!.push(token));
    }
    names.forEach((name, sequence) => all[name] = written[sequence]!);
  }
  return all;
}

async function checkPrompt(
  pair: ModelPair,
  prompt: readonly number[],
  steps: number,
): Promise<void> {
  using full = new Session(pair.large, { capacity: prompt.length + steps + 1 });
  await full.prefill(prompt);
  const expected = [...await full.nextTokens(), ...(await full.decode(steps))[0]!];
  const actual = await writeAll(pair, prompt, steps);
  assertEquals(actual, Object.fromEntries(COMPRESSING.map((name) => [name, expected])));
}

for (const backend of testBackends) {
  const { isSoftware } = (await testDevice(backend)).info;
  // Software GPUs take half a minute for each.
  const count = backend === "reference" ? 1 : isSoftware && backend !== "cpu" ? 5 : 20;
  Deno.test(`1: at a budget of 1 every policy writes what the full cache writes, ${count} prompts of the embedded pair on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    for (const prompt of await prompts(count)) await checkPrompt(pair, prompt, 8);
  });
}

const large = realModel("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
const small = realModel("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");

const TEXTS = [
  `def moving_average(values, width):
    """Returns the mean of every window of \`width\` values."""
    if width < 1 or width > len(values):
        raise ValueError(f"width must be from 1 to {len(values)}")
    total = sum(values[:width])
    means = [total / width]
    for index in range(width, len(values)):
        total += values[index] - values[index - width]
        means.append(total / width)
    return means


def exponential_average(values, weight):
`,
  "The ferry to the outer islands leaves at seven, but on winter mornings the harbor fog often holds" +
  " it at the quay until the sun has climbed above the lighthouse. Maria had learned to bring a second" +
  " thermos of coffee, a book she did not mind getting wet, and the patience of someone who has missed" +
  " more ferries than she has caught. Her brother, who ran the small hotel on the far side of the bay," +
  " never understood why she would not simply take the afternoon boat. He did not know that the morning",
];

Deno.test({
  name: "1: at a budget of 1 every policy writes what the full cache writes, the real pair",
  ignore: !large || !small,
  async fn() {
    const device = await testDevice("cpu");
    using largeModel = await loadModel(large!, { device });
    using smallModel = await loadModel(small!, { device });
    for (const text of TEXTS) {
      const prompt = largeModel.tokenizer!.encode(text);
      await checkPrompt({ large: largeModel, small: smallModel }, prompt, 15);
    }
  },
});
