/**
 * `generate`: continues a prompt under a cache policy, or under several to compare them.
 *
 * @module
 */

import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { promptTokens } from "../decoding/text/prompts.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import type { Model } from "../models/load.ts";
import type { Command, CommandCall, CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";
import { MATCH_FLAGS, readMatchMap, readMatchOptions } from "./generate_matching.ts";
import { GENERATE_NOTES } from "./generate_notes.ts";
import { checkPromptFlags, PROMPT_FLAGS, readPrompt, tokenReader } from "./generate_prompt.ts";
import {
  compareRuns,
  comparisonText,
  type PolicyRun,
  qualityText,
  runObject,
  statisticsText,
} from "./generate_report.ts";
import { runPolicy, type RunSettings } from "./generate_run.ts";
import {
  DRAFT_FLAGS,
  HELPER_FLAGS,
  POLICY_FLAGS,
  POLICY_NAMES,
  readBudget,
  readDrafts,
  readHelperCut,
  readPolicies,
} from "./generate_settings.ts";
import { DEVICE_OPTION, openEngineFor } from "./open.ts";
import { checkTurnFlags, printTurns, TURN_FLAGS } from "./generate_turns.ts";
import { readTokenFile } from "./token_input.ts";

/** New tokens where the command line names no number, or fewer if the context has no room. */
const NEW_TOKENS = 64;

const OPTIONS: Command["options"] = {
  large: {
    type: "string",
    placeholder: "MODEL",
    text: "large model; the embedded one if left out",
  },
  small: {
    type: "string",
    placeholder: "MODEL",
    text: "small model; the embedded one if left out",
  },
  policy: {
    type: "string",
    choices: POLICY_NAMES,
    placeholder: "POLICY",
    default: "smallkv",
    text: "what is kept",
  },
  budget: {
    type: "string",
    placeholder: "SHARE|TOKENS",
    default: "0.2",
    text: "how much is kept",
  },
  ...PROMPT_FLAGS,
  ...TURN_FLAGS,
  "max-new": {
    type: "string",
    placeholder: "N",
    text: `most new tokens, ${NEW_TOKENS} if left out`,
  },
  "ignore-end": { type: "boolean", text: "goes on after a token that ends a text" },
  stats: { type: "boolean", text: "ends with times, bytes and tokens per tier" },
  compare: { type: "string", placeholder: "POLICY,...", text: "runs these and the full cache" },
  "reference-tokens": {
    type: "string",
    placeholder: "FILE.json",
    text: "forces these tokens and adds kl, the divergence per step",
  },
  json: { type: "boolean", text: "prints one object instead of text" },
  trace: {
    type: "string",
    placeholder: "STEP,...",
    text: "with --json: selections of these steps",
  },
  store: {
    type: "string",
    choices: ["resident", "tiered"],
    default: "resident",
    text: "place of dropped tokens",
  },
  ...POLICY_FLAGS,
  ...HELPER_FLAGS,
  ...MATCH_FLAGS,
  ...DRAFT_FLAGS,
  device: DEVICE_OPTION,
};

/**
 * Makes the `generate` command.
 *
 * @param parts `openEngine` opens models.
 * @returns The command.
 */
export function generateCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "generate",
    summary: "Continues a prompt under a cache policy, or under several to compare them",
    options: OPTIONS,
    notes: GENERATE_NOTES,
    examples: [
      "deno task generate --stats",
      "deno task generate --compare full,h2o,pyramid_budget,smallkv --budget 0.1",
      "deno task generate --speculate 4 --stats",
      'deno task generate --large l.gguf --small s.gguf --prompt "Hi" --chat --turns turns.txt',
      "deno task generate --large l.gguf --small s.gguf --chat --turns - --stats",
      "deno task generate --tokens ids.json --max-new 32 --json --trace 1,8,32",
    ],
    run: (call, io) => generate(parts.openEngine, call, io),
  };
}

async function generate(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  const request = readRequest(call);
  using progress = new Progress("Generate", terminalView({ ...io, write: io.error }));
  const onProgress = (stage: string, share: number) =>
    progress.describe(stage, `${Math.floor(100 * share)}%`);
  await using engine = await openEngineFor(openEngine, call, { progress });
  const load = async (role: "large" | "small") =>
    await (await engine.openModel(role, call.value(role))).load();
  const large = await load("large");
  const hasSmall = request.policies.some(({ scores }) => scores === "helper");
  const models = hasSmall ? { large, small: await load("small") } : { large };
  const match = { ...request.match, ...await readMatchMap(call) };
  const hasStats = call.has("stats");
  const isJson = call.has("json");
  const hasSelections = isJson || hasStats;
  const shared = { ...request, match, models, hasSelections, signal: io.signal, onProgress };
  const output = { isJson, hasStats, io, progress };
  if (call.has("turns")) {
    const { policies: [policy], newTokens = NEW_TOKENS } = request;
    await printTurns(call, { ...shared, ...output, policy: policy!, newTokens });
  } else await printRuns(call, shared, output);
  return EXIT.ok;
}

/** Continues one prompt under all policies of the command line. */
async function printRuns(
  call: CommandCall,
  shared: Omit<RunSettings, "prompt" | "forced" | "newTokens"> & Request,
  output: Output,
): Promise<void> {
  const { models, policies } = shared;
  const used = models.small ? [models.large, models.small] : [models.large];
  const prompt = promptTokens(models.large, await readPrompt(call, used));
  const forced = await readForced(call, used);
  const settings: RunSettings = {
    ...shared,
    prompt,
    newTokens: shared.newTokens ?? defaultNewTokens(used, prompt),
    ...(forced && { forced: forced.slice(0, shared.newTokens) }),
  };
  if (call.has("compare")) await printComparison(policies, settings, output);
  else await printOne(policies[0]!, settings, output);
}

/** What a command line asks for, before any model is open. */
interface Request extends
  Pick<
    RunSettings,
    "budget" | "cut" | "store" | "match" | "drafts" | "tracedSteps" | "ignoresEnd"
  > {
  readonly policies: readonly ResolvedPolicy[];
  readonly newTokens?: number;
}

function readRequest(call: CommandCall): Request {
  checkPromptFlags(call);
  const names = call.has("compare") ? readNames(call) : [call.required("policy")];
  const budget = readBudget(call);
  const policies = readPolicies(call, names, budget);
  checkTurnFlags(call, policies);
  if (
    call.has("large") && !call.has("small") && policies.some(({ scores }) => scores === "helper")
  ) {
    call.fail(
      "--small must be given with --large for a policy with a helper: current value is none",
    );
  }
  if (call.has("small") && !call.has("large")) {
    call.fail("--large must be given with --small: current value is none");
  }
  return {
    policies,
    budget,
    cut: readHelperCut(call, policies),
    store: call.required("store") as "resident" | "tiered",
    match: readMatchOptions(call, policies),
    drafts: readDrafts(call, policies),
    tracedSteps: readSteps(call),
    ignoresEnd: call.has("ignore-end"),
    ...(call.has("max-new") &&
      { newTokens: call.number("max-new", { min: 1, max: 1 << 20, isInteger: true }) }),
  };
}

/** Policies to compare; the full cache is what they are compared with. */
function readNames(call: CommandCall): string[] {
  if (call.has("policy")) {
    call.fail("--policy and --compare exclude each other: current value is both");
  }
  if (call.has("reference-tokens")) {
    call.fail("--reference-tokens and --compare exclude each other: current value is both");
  }
  const names = call.required("compare").split(",").map((name) => name.trim());
  const unknown = names.find((name) => !POLICY_NAMES.includes(name));
  if (unknown !== undefined) {
    call.fail(
      `--compare must list some of ${POLICY_NAMES.join(", ")}: current value is ${unknown}`,
    );
  }
  return [...new Set(["full", ...names])];
}

function readSteps(call: CommandCall): number[] {
  const text = call.value("trace");
  if (text === undefined) return [];
  if (!call.has("json")) call.fail("--trace must come with --json: current value is --trace alone");
  const steps = text.split(",").map((word) => /^\s*[1-9]\d*\s*$/.test(word) ? Number(word) : NaN);
  if (steps.every((step) => Number.isSafeInteger(step))) return steps.sort((a, b) => a - b);
  return call.fail(`--trace must list steps from 1 on, as 1,8,32: current value is ${text}`);
}

async function readForced(
  call: CommandCall,
  models: readonly Model[],
): Promise<readonly number[] | undefined> {
  const path = call.value("reference-tokens");
  return path === undefined ? undefined : await readTokenFile(path, models.map(tokenReader));
}

/** As many as the contexts have room for, up to a usual number. */
function defaultNewTokens(models: readonly Model[], prompt: readonly number[]): number {
  const context = Math.min(...models.map(({ config }) => config.contextLength));
  return Math.max(1, Math.min(NEW_TOKENS, context - prompt.length));
}

/** Where and how a command prints. */
interface Output {
  readonly isJson: boolean;
  readonly hasStats: boolean;
  readonly io: CommandIo;
  readonly progress: Progress;
}

async function printOne(
  policy: ResolvedPolicy,
  settings: RunSettings,
  { isJson, hasStats, io, progress }: Output,
): Promise<void> {
  const onText = (text: string) => {
    progress.finish();
    io.out(text);
  };
  const run = await runPolicy(policy, { ...settings, ...(!isJson && { onText }) });
  progress.finish();
  if (isJson) return io.out(`${JSON.stringify(runObject(run, { policy, ...settings }))}\n`);
  if (run.quality) io.out(`${run.text}\n\n${qualityText(run.quality)}`);
  else io.out("\n");
  if (hasStats) io.out(`\n${statisticsText(run.stats)}`);
}

async function printComparison(
  policies: readonly ResolvedPolicy[],
  settings: RunSettings,
  { isJson, hasStats, io, progress }: Output,
): Promise<void> {
  const { tokenizer } = settings.models.large;
  const decode = (tokens: readonly number[]) => tokenizer?.decode(tokens) ?? tokens.join(" ");
  const runs: PolicyRun[] = [];
  for (const policy of policies) {
    const run = await runPolicy(policy, settings);
    runs.push(run);
    if (isJson) continue;
    io.out(`${policy.name}:\n${run.text.trim()}\n${hasStats ? statisticsText(run.stats) : ""}\n`);
  }
  progress.finish();
  const quality = compareRuns(runs, decode(settings.prompt));
  if (!isJson) return io.out(comparisonText(runs, quality, decode));
  const objects = runs.map((run, index) => ({
    ...runObject(run, { policy: policies[index]!, ...settings }),
    quality: quality[index],
  }));
  io.out(`${JSON.stringify({ policies: objects })}\n`);
}
