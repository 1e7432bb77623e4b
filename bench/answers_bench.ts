/**
 * Benchmark of answers under many settings: as one batch, and one after the other.
 *
 * @module
 */

import process from "node:process";
import { gsm8kPrompt, readGsm8k } from "../data/gsm8k.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { answerAll, type AnswerProgress, type AnswerRequest } from "../decoding/text/answers.ts";
import { generateAll } from "../decoding/text/generate.ts";
import { withPair } from "./policy_bench.ts";
import { DEVICE_OPTIONS, Options, printJson } from "./timing.ts";

const POLICIES = ["random", "h2o", "pyramid_budget", "smallkv", "smallkv_query_aware"];
const RATIOS = [0.05, 0.1, 0.2];
/** The full cache, and five policies at three budgets. */
const SETTINGS: readonly PolicySetting[] = [
  { policy: "full", budget: { ratio: 1 } },
  ...POLICIES.flatMap((policy) => RATIOS.map((ratio) => ({ policy, budget: { ratio } }))),
];

/** Seconds of processor time so far, over all threads. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Problems of GSM8K behind the tokens that they share. */
async function requestsOf(
  { large }: ModelPair,
  { data, items, tokens }: {
    readonly data: string;
    readonly items: number;
    readonly tokens: number;
  },
): Promise<AnswerRequest[]> {
  const gsm8k = await readGsm8k(data);
  const texts = gsm8k.items.slice(0, items).map(({ question }) =>
    large.tokenizer!.encode(gsm8kPrompt(question, gsm8k.exemplars))
  );
  const header = large.tokenizer!.encode(gsm8kPrompt("", gsm8k.exemplars));
  return texts.map((text, index) => {
    const shared = text.findIndex((token, place) => token !== header[place]);
    return {
      ...{ key: `${index}`, prefix: text.slice(0, shared), turns: [text.slice(shared)] },
      ...{ stopTexts: [], maxTokens: tokens, settings: [...SETTINGS.keys()] },
    };
  });
}

/** Answers all requests as one batch; processor time of prompts and of steps apart. */
async function together(
  pair: ModelPair,
  requests: readonly AnswerRequest[],
  slots: number,
): Promise<{ readonly figures: object; readonly total: number; readonly tokens: string[] }> {
  const start = processorSeconds();
  let [last, prompt, decode] = [start, 0, 0];
  let progress: AnswerProgress | undefined;
  const tokens: string[] = [];
  const answers = answerAll(pair, {
    ...{ settings: SETTINGS, requests, slots },
    capacity: Math.max(
      ...requests.map(({ prefix, turns, maxTokens }) =>
        prefix.length + turns[0]!.length + maxTokens
      ),
    ),
    onProgress(step) {
      const now = processorSeconds();
      if (step.promptTokens === (progress?.promptTokens ?? 0)) decode += now - last;
      else prompt += now - last; // a step that waited for a prompt counts with it
      [last, progress] = [now, step];
    },
  });
  for await (const { key, setting, turns } of answers) {
    if (key === requests[0]!.key) tokens[setting] = turns[0]!.tokens.join();
  }
  const { promptTokens, newTokens, tokensPerSecond } = progress!;
  const total = processorSeconds() - start;
  return { figures: { prompt, decode, promptTokens, newTokens, tokensPerSecond }, total, tokens };
}

/** Decodes the prompt of a request under the first setting of a policy. */
async function alone(pair: ModelPair, request: AnswerRequest, name: string) {
  const setting = SETTINGS.findIndex(({ policy }) => policy === name);
  const { policy, budget } = SETTINGS[setting]!;
  const prompt = [...request.prefix, ...request.turns[0]!];
  const start = processorSeconds();
  const { sequences: [sequence] } = await generateAll(pair, prompt, {
    ...{ policy, budget, maxNewTokens: request.maxTokens, hasSelections: false },
  });
  return { setting, seconds: processorSeconds() - start, tokens: sequence!.tokens.join() };
}

/**
 * Times answers to problems of GSM8K under 16 settings as one batch, and the first one under each policy alone, where a
 * policy's first budget stands for its others, which take as many steps.
 */
export async function benchAnswers(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "1.5b",
    small: "0.5b",
    data: Deno.env.get("SMALLKV_DATA") ?? "data",
    items: "1",
    tokens: "32",
    slots: `${SETTINGS.length}`,
    alone: ["full", ...POLICIES].join(),
  });
  const [items, tokens] = [options.count("items"), options.count("tokens")];
  const { data } = options.values;
  await withPair(options, async (pair, device) => {
    const requests = await requestsOf(pair, { data, items, tokens });
    const batch = await together(pair, requests, options.count("slots"));
    console.log(`together: ${batch.total.toFixed(1)} s`);
    const seconds: Record<string, number> = {};
    for (const name of options.words("alone", ["full", ...POLICIES])) {
      const run = await alone(pair, requests[0]!, name);
      seconds[name] = run.seconds;
      const which = run.tokens === batch.tokens[run.setting] ? "same" : "other";
      console.log(`${name} alone: ${run.seconds.toFixed(1)} s, ${which} tokens`);
    }
    // Not known unless every policy has been timed.
    const apart = items * SETTINGS.reduce((sum, { policy }) => sum + (seconds[policy] ?? NaN), 0);
    const figures = { ...batch.figures, together: batch.total, alone: seconds, apart };
    const sizes = { settings: SETTINGS.length, items, tokens };
    printJson("answers", device, { ...sizes, ...figures, ratio: apart / batch.total });
  });
}
