/**
 * The pair of models that a notebook works with.
 *
 * @module
 */

import { DataError, RequirementError, UsageError } from "../core/check.ts";
import { evaluationItems, type MicroworldTask } from "../data/microworld.ts";
import type { DatasetName, ExperimentModel, ExperimentText } from "../experiments/experiment.ts";
import { openEngine } from "../experiments/runner/engine.ts";
import type { Environment } from "../experiments/runner/record.ts";
import type { Device } from "../gpu/device.ts";
import type { Model } from "../models/load.ts";
import type { Tokenizer } from "../models/tokenizer/tokenizer.ts";
import { PASSAGE } from "./passage.ts";
import { withProgress } from "./progress_bar.ts";
import { showTable } from "./table.ts";

/** A model of 1.5 billion parameters takes minutes on a processor for what the embedded one does in a second. */
const OWN_PATIENCE = 60;

/** Tasks that `prompts` has an item of. */
const PROMPT_TASKS: readonly MicroworldTask[] = ["roll", "route", "list", "qa"];

/** Which models a notebook works with. */
export interface LabOptions {
  /** Large model: file, folder or `hf:` name; the embedded one if left out. */
  readonly large?: string;
  /** Small model with the same tokenizer; needed together with `large`. */
  readonly small?: string;
  /** Model of another family, which only Fig. 9 uses. */
  readonly other?: string;
  /** Folder of the datasets, for real models; that of `SMALLKV_DATA` if left out. */
  readonly data?: string;
  /** Where everything runs; a GPU if there is one, else the processor, if left out. */
  readonly device?: Device;
}

/** A device with a loaded pair. */
export interface Lab extends AsyncDisposable {
  /** Where everything runs. */
  readonly device: Device;
  /** Device and versions, for results. */
  readonly environment: Environment;
  /** The model that is compressed. */
  readonly large: Model;
  /** Its small model. */
  readonly small: Model;
  /** Tokenizer of both. */
  readonly tokenizer: Tokenizer;
  /** Whether the pair is the embedded one. */
  readonly isDefaultPair: boolean;
  /**
   * How much longer cells may take than with the embedded pair on an idle machine, as a factor: that of
   * `SMALLKV_PATIENCE`, else 1 for that pair and 60 for others.
   */
  readonly patience: number;
  /** A text of over 200 tokens that the pair makes sense of. */
  readonly text: string;
  /** Texts to continue: one item of several tasks, or one passage for real models. */
  readonly prompts: readonly string[];
  /** The models as experiments see them. */
  readonly models: LabModels;
  /** Texts of a dataset, at most `limit`. */
  texts(name: DatasetName, limit: number): Promise<readonly ExperimentText[]>;
  /** Frees models and device. */
  close(): Promise<void>;
}

/** The models of a lab by role. */
export interface LabModels {
  /** The model that is compressed. */
  readonly large: ExperimentModel;
  /** Its small model. */
  readonly small: ExperimentModel;
  /** Model of another family, if one was given. */
  readonly other?: ExperimentModel;
}

/**
 * Opens a device and loads a pair, with a progress bar.
 *
 * @example
 * ```ts ignore
 * const lab = await openLab();
 * const own = await openLab({ large: "models/large.gguf", small: "models/small.gguf" });
 * ```
 * @param options Models, data and device; the embedded pair if left out.
 * @returns The lab; close it to free its memory.
 * @throws {UsageError} If only one of the two models is named.
 * @throws {RequirementError} If `SMALLKV_PATIENCE` is no number.
 * @throws {DataError} If a model is missing, damaged or has no tokenizer.
 */
export async function openLab(options: LabOptions = {}): Promise<Lab> {
  const isDefaultPair = isDefault(options);
  const patience = patienceOf(Deno.env.get("SMALLKV_PATIENCE"));
  await using stack = new AsyncDisposableStack();
  const engine = stack.use(
    await openEngine({
      ...(options.device && { device: options.device }),
      ...(options.data !== undefined && { dataFolder: options.data }),
    }),
  );
  const models = {
    large: await engine.openModel("large", options.large),
    small: await engine.openModel("small", options.small),
    ...(options.other !== undefined && { other: await engine.openModel("other", options.other) }),
  };
  const loaded = await loadAll(models);
  const owned = stack.move();
  return {
    device: engine.device,
    environment: engine.environment,
    ...loaded,
    tokenizer: tokenizerOf(loaded.large),
    isDefaultPair,
    patience: patience ?? (isDefaultPair ? 1 : OWN_PATIENCE),
    text: isDefaultPair ? itemsOf("roll")[0]! : PASSAGE,
    prompts: isDefaultPair ? PROMPT_TASKS.flatMap(itemsOf) : [PASSAGE],
    models,
    texts: (name, limit) => engine.texts(name, limit),
    close: () => owned.disposeAsync(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/**
 * Shows which models a lab holds and what it runs on.
 *
 * @param lab The lab.
 */
export async function showLab(lab: Lab): Promise<void> {
  const { backend, isSoftware } = lab.device.info;
  const { driver } = lab.environment;
  const kind = isSoftware ? driver === undefined ? "the CPU" : "a software adapter" : "a GPU";
  const row = (role: "large" | "small", { config }: Model) => [
    role,
    lab.models[role].name,
    config.layers,
    config.queryHeads,
    config.kvHeads,
    config.headDim,
    config.vocabulary,
  ];
  await showTable({
    title: `The pair, on ${kind} (device "${backend}")`,
    columns: ["role", "model", "layers", "query heads", "KV heads", "head size", "vocabulary"],
    rows: [row("large", lab.large), row("small", lab.small)],
  });
}

/**
 * Names the pair of a lab, for captions.
 *
 * @param lab The lab.
 * @returns For example `micro-world large / micro-world small`.
 */
export function pairName({ models }: Pick<Lab, "models">): string {
  return `${models.large.name} / ${models.small.name}`;
}

function itemsOf(task: MicroworldTask): string[] {
  return evaluationItems(task, { count: 1 }).map(({ prompt }) => prompt);
}

function isDefault({ large, small }: LabOptions): boolean {
  if (large === undefined && small === undefined) return true;
  if (large !== undefined && small !== undefined) return false;
  throw new UsageError(
    "Cannot open a lab: large and small must be given together: current value is only one of them",
  );
}

async function loadAll(
  models: Pick<LabModels, "large" | "small">,
): Promise<{ large: Model; small: Model }> {
  const names = `${models.large.name}, ${models.small.name}`;
  return await withProgress(`Load ${names}`, async (progress) => {
    const large = await models.large.load();
    progress.advance();
    const small = await models.small.load();
    progress.advance();
    return { large, small };
  }, { total: 2 });
}

function tokenizerOf({ name, tokenizer }: Model): Tokenizer {
  if (tokenizer) return tokenizer;
  throw new DataError(
    `Cannot open a lab: ${name} must come with a tokenizer: current value is none`,
  );
}

/** Reads the factor on the time that long cells may take. */
function patienceOf(text: string | undefined): number | undefined {
  if (!text) return undefined;
  const value = Number(text);
  if (value > 0) return value;
  const requirement = "SMALLKV_PATIENCE must be a number above 0";
  throw new RequirementError({ action: "open a lab", requirement, current: text });
}
