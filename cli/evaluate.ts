/**
 * `evaluate`: answers the items of tasks under policies and budgets, grades them, and writes what was found.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { type CacheBudget, parseBudget } from "../cache/budget.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { TASKS } from "../data/tasks/mod.ts";
import {
  DEFAULT_BUDGETS,
  DEFAULT_POLICIES,
  evaluate,
  type EvaluateOptions,
  findTask,
  type Shard,
} from "../evaluation/evaluate.ts";
import { evaluatedModels } from "../evaluation/evaluated_models.ts";
import {
  EvaluationFolder,
  type EvaluationSummary,
  mergedRows,
  readSummary,
} from "../evaluation/folder.ts";
import {
  asksSmall,
  DEFAULT_SEEDS,
  type EvaluationSetting,
  evaluationSettings,
  settingName,
  type SettingsRequest,
} from "../evaluation/settings.ts";
import type { ItemScore } from "../evaluation/summary.ts";
import { engineCode } from "../evaluation/work.ts";
import {
  comparedEvaluation,
  leftOutText,
  writeEvaluationOutputs,
} from "../experiments/report/evaluation_outputs.ts";
import { hostEnvironment, type OpenEngine } from "../experiments/runner/engine.ts";
import { usageOf } from "./choice_flags.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { errorText, EXIT, shellWord } from "./command_line.ts";
import { EvaluateView } from "./evaluate_view.ts";
import { evaluationText } from "./evaluate_text.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor, PAIR_OPTIONS } from "./open.ts";
import { openQueue, QUEUE_OPTIONS, withoutCredentials } from "./queue.ts";

/** Folder of an evaluation if none is named. */
export const EVALUATION_FOLDER = "results/evaluation";

/** Values of `--too-long`. */
const TOO_LONG = ["truncate", "leave out"] as const;

const OPTIONS: Command["options"] = {
  ...PAIR_OPTIONS,
  policies: valueOption("POLICY,...", "what is compared", DEFAULT_POLICIES.join(",")),
  budgets: valueOption(
    "SHARE|TOKENS,...",
    "how much of the cache is kept",
    DEFAULT_BUDGETS.join(","),
  ),
  limit: valueOption("N", "most items of each task; all if left out"),
  seeds: valueOption("N", "seeds of policies that draw what they keep", String(DEFAULT_SEEDS)),
  seed: valueOption("N", "order of the items, and content of those that are made up", "0"),
  lengths: valueOption("TOKENS,...", "lengths of prompts that are made up, with their answers"),
  context: valueOption(
    "TOKENS",
    "longest prompt with its answers; the models' context if left out",
  ),
  "too-long": {
    type: "string",
    choices: TOO_LONG,
    default: "truncate",
    text: "what becomes of long prompts where a benchmark truncates them",
  },
  "small-alone": { type: "boolean", text: "the small model alone is a control, too" },
  "own-small": {
    type: "boolean",
    text: "policies that ask the small model also ask the large one in its place",
  },
  data: valueOption("FOLDER", "folder of the datasets; downloaded into the cache if left out"),
  out: valueOption("FOLDER", "folder of the answers", EVALUATION_FOLDER),
  shard: valueOption("I/N", "only every N-th item, from the I-th on"),
  ...QUEUE_OPTIONS,
  piece: valueOption("N", "items that a worker takes from the queue at once", "4"),
  "ack-wait": valueOption(
    "SECONDS",
    "work of a worker that is silent for so long goes to another",
    "30",
  ),
  "accept-code": valueOption(
    "any|HASH,...",
    "also counts answers that other versions of the code gave",
  ),
  regrade: valueOption("FOLDER", "grades the answers of FOLDER again and runs nothing"),
  merge: {
    type: "boolean",
    text: "joins the answers of the named folders in OUT and runs nothing",
  },
  slots: valueOption("N", "most answers at a time; as many as memory allows if left out"),
  "no-lock": {
    type: "boolean",
    text: "for file systems without locks: you see to it that no other run uses OUT",
  },
  json: { type: "boolean", text: "prints the summary as JSON instead of tables" },
  ...DEVICE_OPTIONS,
};

/** Options that say something where nothing is run; any other would be passed over in silence. */
const RUNS_NOTHING: Readonly<Record<"merge" | "regrade", readonly string[]>> = {
  merge: ["out", "accept-code", "no-lock", "json"],
  regrade: ["accept-code", "no-lock", "json"],
};

/**
 * Makes the `evaluate` command.
 *
 * @param parts `openEngine` opens models.
 */
export function evaluateCommand(parts: { readonly openEngine: OpenEngine }): Command {
  const width = Math.max(...TASKS.map(({ name }) => name.length));
  return {
    name: "evaluate",
    summary: "Answers benchmarks under cache policies and grades the answers",
    operands: "[TASK...|FOLDER...]",
    options: OPTIONS,
    notes: [
      MODEL_NOTE,
      "",
      "OUT gets a JSON line for each answer (answers.jsonl), tables (evaluation.json, evaluation.md), figures",
      "and report.html. Run the same command again to continue one that was stopped; one with more items,",
      "policies or budgets adds to what is there. A policy may have options, as in",
      "smallkv:normalize=rows:small-budget=0.4; they are those of generate, small-layers and small-tokens=own",
      "among them. Answers count as long as the code that gave them stays the same; --accept-code also counts",
      "others.",
      "",
      "Tasks (microworld needs neither data nor models, and is the one of the embedded pair):",
      ...TASKS.map(({ name, title, metric }) => `  ${name.padEnd(width)}  ${title}: ${metric}`),
      "",
      `Policies: ${POLICIES.map(({ name }) => name).join(", ")}`,
    ],
    examples: [
      "deno task evaluate",
      "deno task evaluate gsm8k bbh --large large.gguf --small small.gguf --data data --limit 100",
      "deno task evaluate gsm8k --large large.gguf --small small.gguf --shard 3/16 --out shard3",
      "deno task evaluate gsm8k --large large.gguf --small small.gguf --queue nats://head",
      "deno task evaluate --merge shard1 shard2 shard3 --out all",
      "deno task evaluate --regrade all",
    ],
    run: (call, io) => {
      const mode = (["merge", "regrade"] as const).find((name) => call.has(name));
      if (mode === undefined) return run(parts.openEngine, call, io);
      const useless = Object.keys(OPTIONS).find((name) =>
        call.has(name) && name !== mode && !RUNS_NOTHING[mode].includes(name)
      );
      if (useless !== undefined) call.exclude(mode, useless);
      return (mode === "merge" ? merge : regrade)(call, io, accepted(call, "any"));
    },
  };
}

/** Versions of the code whose answers count. */
type Accepted = Pick<EvaluateOptions, "acceptCode">;

/** What an evaluation found. */
interface Found {
  readonly summary: EvaluationSummary;
  readonly scores: readonly ItemScore[];
}

async function run(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  try {
    const found = await answer(openEngine, call, io);
    return await finish(call, io, { ...found, folder: call.required("out") });
  } catch (error) {
    if (!io.signal.aborted) throw error;
    io.error("Stopped; run the same command again to continue.\n");
    return EXIT.stopped;
  }
}

async function answer(
  openEngine: OpenEngine,
  call: CommandCall,
  io: CommandIo,
): Promise<Found> {
  const request = readRequest(call);
  const view = new EvaluateView(io);
  const onWarning = (warning: string) => {
    view.clear();
    io.error(`Warning: ${warning}\n`);
  };
  using progress = new Progress("Evaluate", view.show, { refreshMs: 1000, intervalMs: 250 });
  const progressIo = { ...io, error: (text: string) => (view.clear(), io.error(text)) };
  await using queue = await openQueue(call, {
    signal: io.signal,
    onWarning,
    onState: (state) => view.queue(state),
  });
  await using engine = await openEngineFor(openEngine, call, { io: progressIo, progress });
  const open = (role: "large" | "small") => engine.openModel(role, call.value(role));
  const large = await open("large");
  const small = !call.has("large") || call.has("small") ? await open("small") : undefined;
  // A folder that cannot be used is refused before minutes go into loading weights.
  await using folder = await EvaluationFolder.open(call.required("out"), {
    models: evaluatedModels({ large, ...(small && { small }) }, engine.environment.activationBits),
    isLocked: !call.has("no-lock"),
    onWarning,
  });
  const pair = { large: await large.load(), ...(small && { small: await small.load() }) };
  let known = 0;
  const rows = evaluate(pair, {
    ...request,
    ...(queue && { answers: await queue.answers(pair, request) }),
    folder,
    signal: io.signal,
    onNotice: (notice) => progressIo.error(`${notice}\n`),
    onPlan(plan) {
      view.plan(plan);
      progress.describe("");
      const { open, skipped } = plan;
      known = plan.known.length;
      progress.extend(known + open.reduce((sum, one) => sum + one.settings.length, 0));
      progress.advance({ items: known, isFree: true });
      if (skipped.length > 0) {
        onWarning(leftOutText(skipped.length));
      }
    },
    onProgress: (state) => view.state(state),
  });
  for await (const row of rows) {
    if (known-- > 0) continue;
    view.row(row);
    progress.advance();
  }
  return { summary: folder.summary!, scores: folder.scores };
}

function readRequest(call: CommandCall): Omit<EvaluateOptions, "folder"> {
  const isEmbedded = !call.has("large");
  if (isEmbedded && call.has("small")) {
    call.fail("--large must be given with --small: current value is none");
  }
  if (call.operands.length === 0 && !isEmbedded) {
    call.fail(`a task must be named with --large: current value is none`);
  }
  const tasks = isEmbedded && call.operands.length === 0 ? ["microworld"] : call.operands;
  for (const name of tasks) {
    usageOf(call, () => findTask(name));
    if (!isEmbedded || name === "microworld") continue;
    call.fail(
      `the embedded pair must be asked microworld, its own world, and other models be given for other tasks: current value is ${name}`,
    );
  }
  const whole = { min: 1, max: 1 << 20, isInteger: true };
  const policies = listOf(call, "policies");
  const budgets = listOf(call, "budgets").map((text): CacheBudget =>
    usageOf(call, () => parseBudget(text), "budgets")
  );
  const settings = {
    policies,
    budgets,
    seeds: call.number("seeds", whole),
    smallAlone: call.has("small-alone"),
    ownSmall: call.has("own-small"),
  };
  const listed = usageOf(call, () => evaluationSettings(settings), "policies");
  refuseSettingOptions(call, settings, listed);
  const asking = listed.find(asksSmall);
  if (asking && !isEmbedded && !call.has("small")) {
    call.fail(
      `--small must be given with --large for ${settingName(asking)}: current value is none`,
    );
  }
  const lengths = call.has("lengths")
    ? listOf(call, "lengths").map((text) => length(call, text))
    : undefined;
  refuseTaskOptions(call, tasks);
  const number = (flag: string) => call.has(flag) ? { [flag]: call.number(flag, whole) } : {};
  return {
    tasks,
    ...settings,
    seed: call.number("seed", { min: 0, max: 0xffffffff, isInteger: true }),
    ...(call.has("too-long") && { tooLong: call.required("too-long") as typeof TOO_LONG[number] }),
    ...number("limit"),
    ...number("context"),
    ...number("slots"),
    ...(lengths && { lengths }),
    ...(call.has("shard") && { shard: readShard(call) }),
    ...(call.value("data") !== undefined && { dataFolder: call.value("data")! }),
    ...accepted(call),
  };
}

/** Options of settings must change some. */
function refuseSettingOptions(
  call: CommandCall,
  { policies, ...request }: SettingsRequest & { readonly seeds: number },
  settings: readonly EvaluationSetting[],
): void {
  const changes = (change: Partial<SettingsRequest>) =>
    evaluationSettings({ ...request, policies, ...change }).length !== settings.length;
  const refusals = [
    ["budgets", "that compresses", () => settings.some(({ policy }) => policy !== "full")],
    ["own-small", "that asks the small model", () => changes({ ownSmall: false })],
    ["seeds", "that draws and has no seed of its own", () => changes({ seeds: request.seeds + 1 })],
  ] as const;
  for (const [flag, policy, isHeeded] of refusals) {
    if (!call.has(flag) || isHeeded()) continue;
    call.fail(`--${flag} must go with a policy ${policy}: current value is ${policies.join(",")}`);
  }
}

/** Options of items must say something to a task. */
function refuseTaskOptions(call: CommandCall, tasks: readonly string[]): void {
  for (const [flag, option] of [["lengths", "lengths"], ["too-long", "tooLong"]] as const) {
    const heeding = TASKS.filter(({ options }) => options?.includes(option)).map(({ name }) =>
      name
    );
    if (!call.has(flag) || tasks.some((name) => heeding.includes(name))) continue;
    call.fail(
      `--${flag} must go with ${heeding.join(" or ")}: current value is ${tasks.join(", ")}`,
    );
  }
}

function listOf(call: CommandCall, flag: string): string[] {
  const text = call.required(flag);
  const words = text.split(",").map((word) => word.trim()).filter(Boolean);
  if (words.length > 0) return words;
  return call.fail(`--${flag} must list at least one: current value is ${JSON.stringify(text)}`);
}

function length(call: CommandCall, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  return call.fail(`--lengths must list numbers of tokens, as 1024,2048: current value is ${text}`);
}

function readShard(call: CommandCall): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(call.required("shard").trim()) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (shard.index >= 1 && shard.index <= shard.count) return shard;
  return call.fail(
    `--shard must be a part and the number of parts, as 3/16: current value is ${
      call.required("shard")
    }`,
  );
}

function accepted(call: CommandCall, usual?: "any"): Accepted {
  const text = call.value("accept-code");
  if (text === undefined) return usual ? { acceptCode: usual } : {};
  if (text === "any") return { acceptCode: "any" };
  const hashes = listOf(call, "accept-code");
  const wrong = hashes.find((hash) => !/^[0-9a-f]{8,64}$/.test(hash));
  if (wrong === undefined) return { acceptCode: hashes };
  return call.fail(
    `--accept-code must be any or hashes of at least 8 hexadecimal digits: current value is ${wrong}`,
  );
}

/** Joins folders; nothing is run. */
async function merge(call: CommandCall, io: CommandIo, accept: Accepted): Promise<number> {
  if (call.operands.length === 0) call.fail("--merge must name folders: current value is none");
  if (!call.has("out")) call.fail("--out must be given with --merge: current value is none");
  const onWarning = (warning: string) => io.error(`Warning: ${warning}\n`);
  const path = call.required("out");
  const isThere = await readSummary(path) !== undefined;
  const sources = isThere ? [path, ...call.operands] : call.operands;
  const { models, rows } = await mergedRows(sources, { onWarning });
  const isLocked = !call.has("no-lock");
  await using folder = await EvaluationFolder.open(path, { models, isLocked, onWarning });
  const there = new Set(folder.rows.map(({ id }) => id));
  await folder.append(rows.filter(({ id }) => !there.has(id)));
  io.error(
    `${counted(rows.length, "line")} of ${counted(call.operands.length, "folder")} joined.\n`,
  );
  return await gradeAgain(call, io, { folder, ...accept });
}

/** Grades a folder again; nothing is run. */
async function regrade(call: CommandCall, io: CommandIo, accept: Accepted): Promise<number> {
  if (call.operands.length > 0) {
    call.fail(`--regrade must name one folder and no task: current value is ${call.operands[0]}`);
  }
  const onWarning = (warning: string) => io.error(`Warning: ${warning}\n`);
  await using folder = await EvaluationFolder.open(call.required("regrade"), {
    isLocked: !call.has("no-lock"),
    onWarning,
  });
  return await gradeAgain(call, io, { folder, ...accept });
}

async function gradeAgain(
  call: CommandCall,
  io: CommandIo,
  { folder, acceptCode }: Accepted & { readonly folder: EvaluationFolder },
) {
  const changed = await folder.regrade(TASKS);
  io.error(`${changed} grades changed.\n`);
  const code = await engineCode();
  const found = await folder.summarize({
    code,
    ...(acceptCode && { accept: acceptCode }),
    tasks: TASKS,
  });
  return await finish(call, io, { ...found, folder: folder.path });
}

async function finish(
  call: CommandCall,
  io: CommandIo,
  { summary, scores, folder }: Found & { readonly folder: string },
): Promise<number> {
  const found = comparedEvaluation({ summary, scores });
  let report: string | undefined;
  let code: number = EXIT.ok;
  try {
    const outputs = await writeEvaluationOutputs(folder, found, {
      view: terminalView({ ...io, write: io.error }),
      environment: hostEnvironment(),
      command: repeatCommand(call),
      seed: call.number("seed", { min: 0, max: 0xffffffff, isInteger: true }),
    });
    report = outputs.report;
    for (const note of outputs.notes) io.error(`${note}\n`);
  } catch (error) {
    code = EXIT.failed; // the tables are worth printing all the same
    io.error(`${errorText(error)}\n`);
  }
  io.out(call.has("json") ? `${JSON.stringify(summary)}\n` : evaluationText(found));
  if (report !== undefined && !call.has("json")) io.out(`Report: ${report}\n`);
  return code;
}

function repeatCommand(call: CommandCall): string {
  const words = Object.entries(OPTIONS).flatMap(([name, { type }]) => {
    if (!call.has(name)) return [];
    if (type === "boolean") return [`--${name}`];
    const value = call.value(name)!;
    return [`--${name}`, shellWord(name === "queue" ? withoutCredentials(value) : value)];
  });
  return ["deno task evaluate", ...call.operands.map(shellWord), ...words].join(" ");
}
