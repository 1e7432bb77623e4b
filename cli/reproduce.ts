/**
 * `reproduce`: measures what the paper claims; locks, opens, measures, writes, prints.
 *
 * @module
 */

import { join } from "node:path";
import { removeUnfinished } from "../core/atomic_file.ts";
import { Progress, type ProgressView } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { untouchedClaims } from "../experiments/claims.ts";
import type {
  DatasetName,
  Experiment,
  ExperimentContext,
  ModelRole,
  Scale,
} from "../experiments/experiment.ts";
import { gradedExperiments, readGradedAnswers } from "../experiments/graded/graded_experiment.ts";
import { writeOutputs } from "../experiments/report/outputs.ts";
import { openBlobStore } from "../experiments/runner/blob_store.ts";
import { codeHash, type ReadModule } from "../core/code_hash.ts";
import { type ContextOptions, experimentContext } from "../experiments/runner/context.ts";
import { DATASETS, type Engine, type OpenEngine } from "../experiments/runner/engine.ts";
import { lockFolder } from "../core/folder_lock.ts";
import { contentHash } from "../core/hash.ts";
import { MODEL_CODE } from "../experiments/runner/lab_model.ts";
import { POLICY_CODE } from "../experiments/runner/policy_runs.ts";
import { pairFolder } from "../experiments/runner/record.ts";
import { CACHE_CODE } from "../experiments/runner/run_cache.ts";
import { type Outcome, runExperiments } from "../experiments/runner/run_experiments.ts";
import { SUMMARY_CODE } from "../experiments/runner/summary.ts";
import { summaryLine } from "../experiments/runner/summary_line.ts";
import { countLines } from "../experiments/runner/verdict_counts.ts";
import { verdictTable } from "../experiments/runner/verdict_table.ts";
import { usageOf } from "./choice_flags.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { errorText, EXIT, shellWord } from "./command_line.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor } from "./open.ts";

/** Values of `--scale`. */
const SCALES = ["smoke", "small", "paper"] as const satisfies readonly Scale[];

/** Modules that run models for traces; all that they import decides what is observed. */
const OBSERVING = [MODEL_CODE, CACHE_CODE];

/** The same with those that decode under policies. */
const DECODING = [...OBSERVING, POLICY_CODE];

/** What the command works with. */
export interface ReproduceParts {
  /** Opens models. */
  readonly openEngine: OpenEngine;
  /** Every experiment, in the order of the report. */
  readonly experiments: readonly Experiment[];
  /** Gives the text of a module, for the keys of results; the file system's if left out. */
  readonly readModule?: ReadModule;
}

/**
 * Makes the `reproduce` command.
 *
 * @param parts Engine and experiments.
 */
export function reproduceCommand(parts: ReproduceParts): Command {
  const width = Math.max(0, ...parts.experiments.map(({ name }) => name.length));
  return {
    name: "reproduce",
    summary: "Measures what the paper claims and compares the numbers",
    operands: "[NAME...]",
    options: {
      large: valueOption("MODEL", "model whose cache is compressed; the embedded one if left out"),
      small: valueOption(
        "MODEL",
        "small model with the same tokenizer; the embedded one if left out",
      ),
      other: valueOption("MODEL", "third model, of another family or size; none if left out"),
      data: valueOption("FOLDER", "folder of the datasets; downloaded into the cache if left out"),
      scale: { type: "string", choices: SCALES, default: "smoke", text: "how much to measure" },
      policies: {
        type: "boolean",
        text: "with --large: also runs the experiments that decode under policies (hours)",
      },
      answers: valueOption(
        "FOLDER",
        "folder of evaluate: experiments tell what its graded answers say, most without running a model",
      ),
      settings: valueOption(
        "LIST",
        "policies that equal_memory compares, as --policies of evaluate; its own if left out",
      ),
      seed: valueOption("N", "seed of everything random", "1"),
      force: { type: "boolean", text: "measures again what has been measured" },
      strict: { type: "boolean", text: "exits with 3 if a comparable claim differs" },
      out: valueOption("FOLDER", "folder of the results", "results"),
      "no-lock": {
        type: "boolean",
        text: "for file systems without locks: you see to it that no other run uses OUT",
      },
      json: { type: "boolean", text: "prints one line of JSON instead of the table" },
      ...DEVICE_OPTIONS,
    },
    notes: [
      MODEL_NOTE,
      "Run the same command again to continue a run that was stopped. Results are written to OUT/SCALE,",
      "and those of a pair other than the embedded one to a folder inside it.",
      "",
      "Names:",
      ...parts.experiments.map(({ name, question }) => `  ${name.padEnd(width)}  ${question}`),
    ],
    examples: [
      "deno task reproduce",
      "deno task reproduce --scale small --large large.gguf --small small.gguf --data data",
      `deno task reproduce ${parts.experiments[0]?.name ?? "NAME"} --seed 2 --strict`,
    ],
    run: (call, io) => reproduce(parts, call, io),
  };
}

async function reproduce(
  parts: ReproduceParts,
  call: CommandCall,
  io: CommandIo,
): Promise<number> {
  const answers = call.has("answers")
    ? await readGradedAnswers(call.required("answers"))
    : undefined;
  const known = answers ? gradedExperiments(parts.experiments, answers) : parts.experiments;
  const experiments = chooseExperiments(parts.experiments, known, call);
  const scale = call.required("scale") as Scale;
  const seed = call.number("seed", { min: 0, max: 0xffffffff, isInteger: true });
  if (call.has("large") !== call.has("small")) {
    call.fail("--large and --small must be given together: current value is only one of them");
  }
  const settings = readSettings(call, experiments);
  const out = call.required("out");
  const cache = join(out, ".cache");
  const view = terminalView({ ...io, write: io.error });
  await using _lock = call.has("no-lock") ? undefined : await lockFolder(cache);
  await removeUnfinished(cache);
  using progress = new Progress("Reproduce", view, { refreshMs: 1000 });
  await using engine = await openEngineFor(parts.openEngine, call, { io, progress });
  const store = openBlobStore(cache, { isFresh: call.has("force") });
  const { device, adapter, driver } = engine.environment;
  const place = [device, adapter, ...driver === undefined ? [] : [driver]];
  const codeOf = async (modules: readonly URL[]) =>
    contentHash([await codeHash(modules, parts.readModule), ...place]);
  const traces = { store, code: await codeOf(OBSERVING) };
  const policies = { store, code: await codeOf(DECODING) };
  const setting = {
    ...{ scale, seed, signal: io.signal, traces, policies },
    ...(answers && { answers }),
    ...(settings && { settings }),
  };
  await checkData(engine, experiments, call);
  const context = await openContext(engine, call, setting);
  const folder = pairFolder(join(out, scale), context);
  await removeUnfinished(folder);
  const outcomes = await runExperiments(experiments, {
    context,
    folder,
    store,
    workUnitCode: ({ module, usesPolicies }) =>
      codeOf([new URL(module), ...(usesPolicies ? DECODING : OBSERVING)]),
    summaryCode: await codeHash([SUMMARY_CODE], parts.readModule),
    environment: () => engine.environment,
    command: (experiment) => repeatCommand(call, experiment.name),
    isForced: call.has("force"),
    progress,
  });
  progress.finish();
  // Results of both kinds stand in the report, whichever were run now.
  const listed = [...parts.experiments, ...known.filter((one) => !parts.experiments.includes(one))];
  return await finish(outcomes, { call, io, folder, view, experiments: listed });
}

/** Settings to compare, which one of the experiments must be able to. */
function readSettings(
  call: CommandCall,
  experiments: readonly Experiment[],
): readonly string[] | undefined {
  if (!call.has("settings")) return undefined;
  const settings = call.required("settings").split(",").map((word) => word.trim()).filter(Boolean);
  const readers = experiments.filter(({ checkSettings }) => checkSettings);
  if (settings.length === 0 || readers.length === 0) {
    const requirement = settings.length === 0
      ? "--settings must list at least one"
      : "--settings must go with equal_memory";
    call.fail(`${requirement}: current value is ${call.required("settings")}`);
  }
  for (const { checkSettings } of readers) {
    usageOf(call, () => checkSettings!(settings), "settings");
  }
  return settings;
}

function chooseExperiments(
  all: readonly Experiment[],
  experiments: readonly Experiment[],
  call: CommandCall,
): readonly Experiment[] {
  for (const name of call.operands) {
    if (all.some((experiment) => experiment.name === name)) continue;
    const names = all.map((experiment) => experiment.name).join(", ");
    call.fail(`names must be among ${names}: current value is ${name}`);
  }
  if (call.has("answers")) {
    const named = all.filter(({ name }) => call.operands.includes(name));
    const wanted = [
      ...experiments.filter(({ module }) =>
        call.operands.length === 0 || named.some((one) => one.module === module)
      ),
      ...named.filter(({ readsAnswers }) => readsAnswers),
    ];
    if (wanted.length > 0) return wanted;
    call.fail(
      "--answers must hold answers to tasks that the experiments read: current value has none",
    );
  }
  if (call.has("policies") && !call.has("large")) {
    call.fail("--policies must go with --large: current value is --policies alone");
  }
  if (call.operands.length > 0) {
    return experiments.filter(({ name }) => call.operands.includes(name));
  }
  // Decoding another pair under every policy takes hours, observing it takes minutes.
  const isObserved = call.has("large") && !call.has("policies");
  return isObserved ? experiments.filter(({ usesPolicies }) => usesPolicies !== true) : experiments;
}

/** Reads a text of each dataset, so that a missing one is not found after models were loaded. */
async function checkData(
  engine: Engine,
  experiments: readonly Experiment[],
  call: CommandCall,
): Promise<void> {
  if (!call.has("large")) return; // the embedded pair makes its texts itself
  const inputs = new Set(experiments.flatMap(({ inputs }) => inputs));
  for (const name of inputs) {
    if (name in DATASETS) await engine.texts(name as DatasetName, 1);
  }
}

async function openContext(
  engine: Engine,
  call: CommandCall,
  setting: Omit<ContextOptions, ModelRole | "isDefaultPair" | "texts">,
): Promise<ExperimentContext> {
  const open = (role: ModelRole) => engine.openModel(role, call.value(role));
  return experimentContext({
    ...setting,
    large: await open("large"),
    small: await open("small"),
    ...(call.has("other") && { other: await open("other") }),
    isDefaultPair: !call.has("large"),
    texts: (name, limit) => engine.texts(name, limit),
  });
}

/** Options that decide nothing that is measured; which experiment it is, its name says. */
const UNRECORDED = ["policies", "force", "strict", "no-lock", "json"];

/** The command line that repeats one experiment of this run. */
function repeatCommand(call: CommandCall, name: string): string {
  const words = call.optionNames.flatMap((option) => {
    const value = call.has(option) ? call.value(option) : undefined;
    if (value === undefined || UNRECORDED.includes(option)) return [];
    return [`--${option}`, shellWord(value)];
  });
  return ["deno task reproduce", name.replace(/_scores$/, ""), ...words].join(" ");
}

async function finish(
  outcomes: readonly Outcome[],
  run: {
    readonly call: CommandCall;
    readonly io: CommandIo;
    readonly folder: string;
    readonly view: ProgressView;
    readonly experiments: readonly Experiment[];
  },
): Promise<number> {
  const { call, io, folder, view } = run;
  for (const { experiment, error } of outcomes) {
    if (error !== undefined) io.error(`${experiment.name}: ${errorText(error)}\n`);
  }
  if (io.signal.aborted) {
    io.error("Stopped; run the same command again to continue.\n");
    return EXIT.stopped;
  }
  const records = outcomes.flatMap(({ record }) => record === undefined ? [] : [record]);
  const order = run.experiments.map(({ name }) => name);
  const untouched = untouchedClaims(run.experiments);
  let hasFailed = outcomes.some(({ status }) => status === "failed");
  let report: string | undefined;
  try {
    const outputs = await writeOutputs(folder, records, { view, order, untouched });
    report = outputs.report;
    for (const note of outputs.notes) io.error(`${note}\n`);
  } catch (error) {
    hasFailed = true; // the table is worth printing all the same
    io.error(`${errorText(error)}\n`);
  }
  const differs = records.some(({ claims }) => claims.some((claim) => claim.verdict === "differs"));
  const code = hasFailed ? EXIT.failed : call.has("strict") && differs ? EXIT.differs : EXIT.ok;
  if (call.has("json")) {
    io.out(`${summaryLine(outcomes, { folder, exitCode: code, untouched })}\n`);
    return code;
  }
  io.out(`${verdictTable(records, { columns: io.outColumns(), untouched })}\n\n`);
  for (const line of countLines(records, untouched)) io.out(`${line}\n`);
  if (report !== undefined) io.out(`Report: ${report}\n`);
  return code;
}
