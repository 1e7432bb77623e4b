/**
 * `generate`: continues a prompt under a cache policy, or under several to compare them.
 *
 * @module
 */

import { POLICIES } from "../cache/policies/mod.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { pairContext, sharedReaders } from "../decoding/engine/model_pair.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { promptTokens } from "../decoding/text/prompts.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { withOwnTokens } from "../models/forward/own_tokens.ts";
import type { Model } from "../models/load.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import { PROMPT_FLAGS, readPrompt, tokenReader } from "./generate_prompt.ts";
import { GenerateProgress } from "./generate_progress.ts";
import {
  compareRuns,
  comparisonText,
  type PolicyRun,
  qualityText,
  runObject,
  statisticsText,
  uncompressedText,
} from "./generate_report.ts";
import { runPolicy, type RunSettings } from "./generate_run.ts";
import {
  API_NAMES,
  type GenerateRequest,
  POLICY_NAMES,
  readMatchMap,
  readRequest,
  SAMPLING_FLAGS,
  SETTING_FLAGS,
} from "./generate_settings.ts";
import { printTurns, TURN_FLAGS } from "./generate_turns.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor, PAIR_OPTIONS } from "./open.ts";
import { readTokenFile } from "./token_input.ts";

/** New tokens where the command line names no number, or fewer if the context has no room. */
const NEW_TOKENS = 64;

const OPTIONS: Command["options"] = {
  ...PAIR_OPTIONS,
  policy: {
    type: "string",
    choices: POLICY_NAMES,
    placeholder: "POLICY",
    default: "smallkv",
    text: "cache policy, from the list below",
  },
  budget: valueOption("SHARE|TOKENS", "how much of the cache is kept", "0.2"),
  ...PROMPT_FLAGS,
  ...TURN_FLAGS,
  "max-new": valueOption("N", `most new tokens; ${NEW_TOKENS} if left out`),
  ahead: valueOption(
    "N",
    "most decode steps before their tokens are read; chosen by the device if left out",
  ),
  "ignore-end": { type: "boolean", text: "continues after a token that ends a text" },
  stats: { type: "boolean", text: "prints times, bytes and tokens per tier at the end" },
  compare: valueOption("POLICY,...", "compares these policies with the full cache"),
  "reference-tokens": valueOption(
    "FILE.json",
    "runs these tokens, whatever would be chosen, and measures the divergence at each step",
  ),
  json: { type: "boolean", text: "prints a JSON object instead of text" },
  trace: valueOption("STEP,...", "with --json: adds the selections of these steps"),
  ...SAMPLING_FLAGS,
  ...SETTING_FLAGS,
  ...DEVICE_OPTIONS,
};

/** What the help says beyond the options. */
const NOTES: readonly string[] = [
  MODEL_NOTE,
  "",
  "Without --prompt or --tokens, a prompt from the embedded pair's own world is continued. A budget is a",
  "share of the full cache (0.2 or 20%; 1 keeps all of it) or a number of tokens (256 or 256t). Files of",
  "tokens hold an array of ids, or an object with one under tokens; --match-map takes what",
  "deno task match writes. With --compare, an option applies to the policies that have it.",
  "",
  "--json prints { tokens, text, stats, trace }. For each traced step, layer and KV head, trace lists the",
  "positions that attention saw, as { critical, recent, marginal }, and, if the policy drops tokens after",
  "a step, those that remain; first tokens that are always kept count as critical. Step 1 is the first",
  "decode step and sees prompt + 1 tokens; a traced step after the last token is run, too. With",
  "--reference-tokens, step s runs the s-th of those tokens; kl[s - 1] is how far its prediction diverges",
  "from the full cache's, in nats, and chosen holds the tokens that the policy would have chosen.",
  "",
  "The likeliest token is chosen, unless --temperature, --top-p or --top-k is given, which apply in this order:",
  "temperature, top-k, top-p. --seed repeats the draws, and those of policies that draw what they keep.",
  "",
  "On WebGPU, where each read takes time, up to 16 steps run before their tokens are read and appear together:",
  "as many as take a quarter of a second, or --ahead N. That changes no token. Policies that rank by scores",
  "on the host, tiered stores, drafts, drawn tokens, --stats and --json need a read at each step.",
  "",
  "With --speculate N, the large model checks N drafts of the small one in a single pass, always choosing",
  "the likeliest token. With --block per_query, the default, each draft attends to the tokens that it would",
  "see without drafting, so the text does not change; with --block shared, all drafts attend to the tokens",
  "of the first one and to the drafts before them.",
  "",
  "With --turns, each line of FILE or TEXT is a turn that follows the previous answer, on the same cache;",
  "with --chat it is a message of the user. --turns - answers lines of standard input as they are typed,",
  "the first one included unless --prompt is given, until the input ends (Ctrl-D). Ctrl-C stops the",
  "current answer; a second one, or one between answers, ends the conversation. With --json, each turn is",
  "an object on its own line. A policy that drops tokens for good reads a turn token by token;",
  "--turn-block N lets it read N at once: they see the kept tokens and each other, and tokens are dropped",
  "once per block.",
  "",
  "Policies:",
  ...POLICIES.map(({ name, summary }) => `  ${name.padEnd(20)}${summary}`),
];

/**
 * Makes the `generate` command.
 *
 * @param parts `openEngine` opens models.
 */
export function generateCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "generate",
    summary: "Continues a prompt under a cache policy, or under several to compare them",
    options: OPTIONS,
    apiNames: API_NAMES,
    notes: NOTES,
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
  using progress = new GenerateProgress(io);
  const onProgress = (stage: string, share: number) =>
    progress.describe(stage, `${Math.floor(100 * share)}%`);
  await using engine = await openEngineFor(openEngine, call, { io, progress });
  const load = async (role: "large" | "small") =>
    await (await engine.openModel(role, call.value(role))).load();
  const large = await load("large");
  const hasSmall = request.policies.some(({ saliencySource }) => saliencySource === "small");
  const small = hasSmall ? await load("small") : undefined;
  const models = {
    large,
    ...(small && { small: request.hasOwnTokens ? withOwnTokens(small, large) : small }),
  };
  const match = { ...request.match, ...await readMatchMap(call) };
  const hasStats = call.has("stats");
  const isJson = call.has("json");
  const hasSelections = isJson || hasStats;
  const signal = io.outClosed ? AbortSignal.any([io.signal, io.outClosed]) : io.signal;
  const shared = { ...request, match, models, hasSelections, signal, onProgress };
  const output = { isJson, hasStats, io, progress };
  try {
    if (call.has("turns")) {
      const { policies: [policy], newTokens = NEW_TOKENS } = request;
      await printTurns(call, { ...shared, ...output, policy: policy!, newTokens });
    } else await printRuns(call, shared, output);
  } catch (error) {
    // What nobody reads need not be computed.
    if (!io.outClosed?.aborted || error !== io.outClosed.reason) throw error;
  }
  return EXIT.ok;
}

/** Continues one prompt under all policies of the command line. */
async function printRuns(
  call: CommandCall,
  shared: Omit<RunSettings, "prompt" | "teacherForced" | "newTokens"> & GenerateRequest,
  output: Output,
): Promise<void> {
  const { models, policies } = shared;
  const used = sharedReaders(models);
  const prompt = promptTokens(models.large, await readPrompt(call, used));
  const teacherForced = (await readTeacherForced(call, used))?.slice(0, shared.newTokens);
  const lastTraced = shared.tracedSteps.at(-1) ?? 0;
  if (teacherForced && lastTraced > teacherForced.length) {
    call.fail(
      `--trace must name steps up to the number of tokens that are forced, ${teacherForced.length}: current value is ${lastTraced}`,
    );
  }
  const settings: RunSettings = {
    ...shared,
    prompt,
    newTokens: shared.newTokens ?? defaultNewTokens(models, prompt),
    ...(teacherForced && { teacherForced }),
  };
  if (call.has("compare")) await printComparison(policies, settings, output);
  else await printOne(policies[0]!, settings, output);
}

async function readTeacherForced(
  call: CommandCall,
  models: readonly Model[],
): Promise<readonly number[] | undefined> {
  const path = call.value("reference-tokens");
  return path === undefined ? undefined : await readTokenFile(path, models.map(tokenReader));
}

/** As many as the contexts have room for, up to a usual number. */
function defaultNewTokens(models: ModelPair, prompt: readonly number[]): number {
  return Math.max(1, Math.min(NEW_TOKENS, pairContext(models) - prompt.length));
}

/** Where and how a command prints. */
interface Output {
  readonly isJson: boolean;
  readonly hasStats: boolean;
  readonly io: CommandIo;
  readonly progress: GenerateProgress;
}

/** Says where a policy has dropped nothing. */
function printUncompressed(
  policy: ResolvedPolicy,
  { models, budget, prompt }: RunSettings,
  { run, io }: { readonly run: PolicyRun; readonly io: CommandIo },
): void {
  const { config } = models.large;
  const tokens = prompt.length + run.stats.steps;
  const place = { tokens, promptTokens: prompt.length };
  io.error(uncompressedText({ policy, budget, config }, place));
}

async function printOne(
  policy: ResolvedPolicy,
  settings: RunSettings,
  { isJson, hasStats, io, progress }: Output,
): Promise<void> {
  const onText = (text: string) => {
    progress.beginText();
    io.out(text);
  };
  const run = await runPolicy(policy, { ...settings, ...(!isJson && { onText }) });
  progress.finish();
  if (isJson) io.out(`${JSON.stringify(runObject(run, { policy, ...settings }))}\n`);
  else if (run.quality) io.out(`${run.text}\n\n${qualityText(run.quality)}`);
  else io.out("\n");
  if (!isJson && hasStats) io.out(`\n${statisticsText(run.stats)}`);
  printUncompressed(policy, settings, { run, io });
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
    progress.giveWay();
    io.out(`${policy.name}:\n${run.text.trim()}\n${hasStats ? statisticsText(run.stats) : ""}\n`);
  }
  progress.finish();
  runs.forEach((run, index) => printUncompressed(policies[index]!, settings, { run, io }));
  const quality = compareRuns(runs, decode(settings.prompt));
  if (!isJson) return io.out(comparisonText(runs, quality, decode));
  const objects = runs.map((run, index) => ({
    ...runObject(run, { policy: policies[index]!, ...settings }),
    quality: quality[index],
  }));
  io.out(`${JSON.stringify({ policies: objects })}\n`);
}
