/**
 * Benchmarks of what a user waits for: the first token under a policy, and the first command in a fresh clone.
 *
 * @module
 */

import { createPolicy } from "../cache/policy_options.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import { RequirementError } from "../core/check.ts";
import { median } from "../core/stats.ts";
import { evaluationItems } from "../data/microworld.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { PolicySession } from "../decoding/engine/policy_session.ts";
import { withPair } from "./policy_bench.ts";
import { DEVICE_OPTIONS, Options, printJson, printRow, timeInTurns, type Work } from "./timing.ts";

const COLUMNS = [
  ["tokens", 6, 0],
  ["policy", -20],
  ["ms", 9],
  ["25 %", 9],
  ["75 %", 9],
  ["processor", 9],
  ["over first", 10],
  ["processor", 9],
] as const;

/** A prompt under a policy, from a new session to the first token id on the host. */
function firstToken(
  pair: Required<ModelPair>,
  prompt: readonly number[],
  { policy, ratio }: { readonly policy: string; readonly ratio: number },
): Work {
  const budget = { ratio: policy === "full" ? 1 : ratio };
  const options = { policy: createPolicy(policy), budget, capacity: prompt.length + 32 };
  return {
    times: 1,
    async run() {
      using session = new PolicySession(pair, options);
      await session.prefill(prompt);
      await session.nextTokens();
    },
  };
}

/** Times first tokens under policies, in turns. */
export async function benchFirst(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "embedded",
    small: "embedded",
    tokens: "128,200",
    policies: "full,smallkv",
    budget: "0.2",
    samples: "9",
  });
  const [ratio, samples] = [options.share("budget"), options.count("samples")];
  const policies = options.words("policies", POLICIES.map(({ name }) => name));
  await withPair(options, async (pair, device) => {
    const [item] = evaluationItems("route", { count: 1 });
    const ids = pair.large.tokenizer!.encode(item!.prompt);
    printRow(COLUMNS);
    const rows = [];
    for (const tokens of options.counts("tokens")) {
      const prompt = Array.from({ length: tokens }, (_, at) => ids[at % ids.length]!);
      const works = policies.map((policy) =>
        [policy, firstToken(pair, prompt, { policy, ratio })] as const
      );
      const times = await timeInTurns(device, Object.fromEntries(works), samples);
      const first = times[policies[0]!]!;
      for (const policy of policies) {
        const one = times[policy]!;
        const over = one.medianMs / first.medianMs;
        const processorOver = one.processorMs / first.processorMs;
        const figures = [one.medianMs, one.lowMs, one.highMs, one.processorMs, over, processorOver];
        printRow(COLUMNS, [tokens, policy, ...figures]);
        rows.push({ tokens, policy, ...one, over, processorOver });
      }
    }
    const names = { large: pair.large.name, small: pair.small.name };
    printJson("first", device, { ...names, ratio, samples, rows });
  });
}

async function runIn(cwd: string, command: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { cwd, args: [...args] }).output();
  if (success) return;
  throw new RequirementError({
    action: `run ${command} ${args.join(" ")}`,
    requirement: "it must end without an error",
    state: `error is ${new TextDecoder().decode(stderr).trim()}`,
  });
}

/**
 * Times the first command in a fresh clone of this repository, until its end: packages are in Deno's cache, nothing
 * else is. Processor time is that of other processes and is not known.
 */
export async function benchStart(args: string[]): Promise<void> {
  const samples = new Options(args, { samples: "5" }).count("samples");
  const root = new URL("..", import.meta.url).pathname;
  const firstMs: number[] = [];
  const secondMs: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const folder = await Deno.makeTempDir();
    try {
      await runIn(folder, "git", ["clone", "--quiet", root, "clone"]);
      for (const times of [firstMs, secondMs]) {
        const start = performance.now();
        await runIn(`${folder}/clone`, Deno.execPath(), ["task", "generate", "--max-new", "1"]);
        times.push(performance.now() - start);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
  const medianMs = { first: median(firstMs), second: median(secondMs) };
  console.log(
    `one token of the embedded pair: the first command of a clone ${
      medianMs.first.toFixed(0)
    } ms, the second ${medianMs.second.toFixed(0)} ms`,
  );
  printJson("start", undefined, { samples, medianMs, firstMs, secondMs });
}
