/**
 * Times a text under many settings: one setting after the other, and all as one batch that shares prompt and helper.
 *
 *     deno run -A bench/policy_batch_bench.ts [--large MODEL --small MODEL] [--tokens 256] [--steps 16]
 *
 * Both ways compare every step with the full cache. The embedded pair is taken unless models are named.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { embeddedPair } from "../data/embedded.ts";
import { evaluationItems } from "../data/microworld.ts";
import { forceSettings } from "../decoding/forced/forced_settings.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";
import { loadModel } from "../models/load.ts";
import { median } from "./figures.ts";

const POLICIES = ["h2o", "tova", "smallkv", "smallkv_query_aware"];
const RATIOS = [0.05, 0.1, 0.2, 0.4];
const SAMPLES = 3;

const SETTINGS: readonly PolicySetting[] = RATIOS.flatMap((ratio) =>
  POLICIES.map((policy) => ({ policy, budget: { ratio } }))
);

/** Tokens of a text of the embedded pair's world, repeated as often as is needed. */
function textTokens({ large }: ModelPair, count: number): number[] {
  const [item] = evaluationItems("route", { count: 1 });
  const tokens = large.tokenizer!.encode(item!.prompt);
  return Array.from({ length: count }, (_, index) => tokens[index % tokens.length]!);
}

async function seconds(action: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await action();
  return (performance.now() - start) / 1000;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      large: { type: "string", default: embeddedPair().large },
      small: { type: "string", default: embeddedPair().small },
      tokens: { type: "string", default: "256" },
      steps: { type: "string", default: "16" },
    },
  });
  using large = await loadModel(values.large);
  const { device } = large;
  using small = await loadModel(values.small, { device });
  const pair = { large, small };
  const [prompt, steps] = [Number(values.tokens), Number(values.steps)];
  const tokens = textTokens(pair, prompt + steps + 1);
  const text = { prompt: tokens.slice(0, prompt), continuation: tokens.slice(prompt) };
  const times: Record<"apart" | "together", number[]> = { apart: [], together: [] };
  for (let sample = 0; sample < SAMPLES; sample++) {
    const run = (settings: readonly PolicySetting[]) =>
      forceSettings(pair, text, { settings, newTokens: 1, endTokens: [] });
    times.apart.push(
      await seconds(async () => {
        for (const setting of SETTINGS) await run([setting]);
      }),
    );
    times.together.push(await seconds(() => run(SETTINGS)));
  }
  const ratio = median(times.apart.map((apart, sample) => apart / times.together[sample]!));
  const what = `${SETTINGS.length} settings, prompt ${prompt}, ${steps} steps, n = ${SAMPLES}`;
  console.log(
    `${what}: one after the other ${median(times.apart).toFixed(2)} s, ` +
      `together ${median(times.together).toFixed(2)} s, median ratio ${ratio.toFixed(1)}`,
  );
  const { backend, description, isSoftware } = device.info;
  console.log(JSON.stringify({
    bench: "policy_batch",
    deno: Deno.version.deno,
    backend,
    description,
    isSoftware,
    settings: SETTINGS.length,
    prompt,
    steps,
    times,
    ratio,
  }));
}

if (import.meta.main) await main();
