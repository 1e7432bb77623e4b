/**
 * What an experiment is: a question, the claims it can answer, resumable units of work, and a
 * pure summary of what the units measured.
 *
 * @module
 */

import type { JsonValue } from "../core/json.ts";
import type { Selection } from "../cache/policy.ts";
import type {
  TeacherForcedRun,
  TeacherForcedText,
} from "../decoding/forced/teacher_force_settings.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";
import type { AttentionTrace, RowOptions, TraceOptions } from "../decoding/session/trace.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Model } from "../models/load.ts";
import type { EvaluatedTask } from "../evaluation/folder.ts";
import type { ItemScore } from "../evaluation/summary.ts";
import type { Claim, ExperimentResult, Measured } from "./result.ts";

export type * from "./result.ts";
export type { PolicySetting, TeacherForcedRun, TeacherForcedText };

/** How much is measured: seconds, an hour on two cores, or the counts of the paper. */
export type Scale = "smoke" | "small" | "paper";

/** Which model of a run: the compressed one, its small model, or one of another family. */
export type ModelRole = "large" | "small" | "other";

/** Sizes of a model that experiments need; head sizes are those of its files. */
export type ModelShape =
  & Pick<Model, "fileTensorBytes">
  & Pick<
    ModelConfig,
    | "layers"
    | "queryHeads"
    | "kvHeads"
    | "headDim"
    | "hidden"
    | "mlp"
    | "vocabulary"
    | "contextLength"
  >;

/** Accumulated attention of every query head at one or more prefix lengths. */
export interface Trace {
  /** Query heads of all layers; flat head = layer * queryHeads + head. */
  readonly heads: number;
  /** Prefix lengths, ascending; the last one is the number of tokens. */
  readonly checkpoints: readonly number[];
  /** Column sums of the rows before each checkpoint, one [heads, checkpoint] array each. */
  readonly accumulated: readonly Float32Array[];
}

/** Which tokens later rows may see after a first compression. */
export interface RealDropOptions {
  /** Tokens before the compression; rows from here on see only `kept` and each other. */
  readonly firstTokens: number;
  /** Per flat query head, the kept positions below `firstTokens`, ascending. */
  readonly kept: readonly Uint32Array[];
  /** Stops the work between chunks. */
  readonly signal?: AbortSignal;
}

/** A model of a run; its weights are loaded when it is first run. */
export interface ExperimentModel
  extends
    ModelShape,
    Pick<ModelConfig, "architecture" | "eosTokenIds" | "layerAttention">,
    Pick<Model, "name" | "hash"> {
  /** Parameters by the type that the files store them in, such as `Q4_K`, or `F8_E4M3 as BF16` if they are decoded. */
  readonly parametersByType: Readonly<Record<string, number>>;
  /** Identity of the tokenizer; absent if the model has none. */
  readonly tokenizerHash?: string;
  /** Loads the weights, once. */
  load(): Promise<Model>;
  /** Turns text into token ids, the way a prompt of this model starts (special first token included if it has one). */
  encode(text: string): readonly number[];
  /**
   * Text of each token id, in order, so that the texts together are the decoded sequence; a special
   * token is null, a character spread over several tokens belongs to its last one.
   */
  tokenTexts(tokens: readonly number[]): readonly (string | null)[];
  /** Runs the tokens and captures attention and logits. Not memoised; see `ExperimentContext.trace`. */
  trace(tokens: readonly number[], options?: TraceOptions): Promise<AttentionTrace>;
  /**
   * Runs the tokens and captures the last rows of every head's attention map.
   *
   * @returns Attention, [heads, tokens - first, tokens]; 0 where a row sees nothing.
   */
  attentionRows(tokens: readonly number[], options: RowOptions): Promise<Float32Array>;
  /**
   * Continues after a real drop (docs/method.md, "Saliency shift"): rows from `firstTokens` on attend only to the kept
   * tokens of their head and to each other, and hidden states change accordingly. Calls for one text
   * come in a row, so the state after the first half is kept.
   *
   * @returns Column sums over the rows from `firstTokens` on, [heads, tokens]; 0 where nothing is seen.
   */
  realDrop(tokens: readonly number[], options: RealDropOptions): Promise<Float32Array>;
}

/** One text of a dataset. */
export interface ExperimentText {
  /** Unique within its dataset and stable, for example "boolean_expressions/3". */
  readonly id: string;
  /** Task, subject or category. */
  readonly group: string;
  /** The whole text; of a dialogue, all turns together. */
  readonly text: string;
  /** Of a dialogue, the text that each turn adds, in order. */
  readonly turns?: readonly string[];
  /** Of an item with one right answer, the text that a model has to write after it. */
  readonly answer?: string;
}

/** A text that is decoded under many settings along with the full cache. */
export interface TeacherForcedRequest {
  /** Token ids that are run exactly. */
  readonly prompt: readonly number[];
  /** Token ids that follow; those that the full cache would write if left out. */
  readonly continuation?: readonly number[];
  /** Tokens that the full cache writes for a text without a continuation. */
  readonly newTokens: number;
  /** Policies, choices, budgets. */
  readonly settings: readonly PolicySetting[];
  /** Model whose attention guides the large one; the small one if left out. */
  readonly smallModel?: ModelRole;
}

/** Prompts that are continued side by side under one setting. */
export interface GeneratedBatch {
  /** Prompts, as token ids. */
  readonly prompts: readonly (readonly number[])[];
  /** Policy, choices, budget. */
  readonly setting: PolicySetting;
  /** Most tokens that are written. */
  readonly maxNew: number;
}

/**
 * Datasets by name. `microworld`: prompts of the default pair's world (group = task).
 * `wikitext2`: lines of the raw test split in file order, without blank lines and headings.
 * `bbh`: three-shot chain-of-thought prompts, with tasks alternating. `gsm8k`: eight-shot prompts whose exemplars
 * are rotated from prompt to prompt. `mmlu`: five-shot prompts, with subjects alternating.
 * `mt_bench`: questions with their reference answers, both in `turns`.
 */
export type DatasetName = "microworld" | "wikitext2" | "bbh" | "gsm8k" | "mmlu" | "mt_bench";

/** Everything an experiment may use. */
export interface ExperimentContext {
  /** Model that is compressed. */
  readonly large: ExperimentModel;
  /** Small model with the same tokenizer. */
  readonly small: ExperimentModel;
  /** Model of another family, if one was given. */
  readonly other?: ExperimentModel;
  /** Whether the pair is the embedded one, which only knows `microworld`. */
  readonly isDefaultPair: boolean;
  /** Graded answers of the same models, if they were given. */
  readonly answers?: GradedAnswers;
  /** Settings that are compared at equal memory in place of the usual ones, as in `smallkv:normalize=rows`. */
  readonly settings?: readonly string[];
  /** How much to measure. */
  readonly scale: Scale;
  /** Seed of everything random. */
  readonly seed: number;
  /** Ends the run. */
  readonly signal: AbortSignal;
  /**
   * Texts of a dataset in their order, at most `limit`.
   *
   * @throws {DataError} If the dataset's files are missing or damaged.
   */
  texts(name: DatasetName, limit: number): Promise<readonly ExperimentText[]>;
  /**
   * Accumulated attention at prefix lengths, ascending, and at the full length; kept on disk by model,
   * tokens and checkpoints, so that experiments with equal checkpoints run a text once.
   */
  trace(
    role: ModelRole,
    tokens: readonly number[],
    options?: Pick<TraceOptions, "checkpoints" | "signal">,
  ): Promise<Trace>;
  /** Decodes a text under settings and compares each step with the full cache; one run each, kept on disk. */
  teacherForced(request: TeacherForcedRequest): Promise<readonly TeacherForcedRun[]>;
  /** Continues prompts greedily under a policy, up to and without an end token; kept on disk. */
  generated(batch: GeneratedBatch): Promise<readonly (readonly number[])[]>;
  /** As `teacherForced`, along with what the attention of each setting sees; not stored. */
  selections(request: TeacherForcedRequest): Promise<readonly SeenRun[]>;
}

/** A run, and the tokens that its steps saw. */
export interface SeenRun {
  /** Effects on each token. */
  readonly run: TeacherForcedRun;
  /** What attention saw, [step][head group]. */
  readonly selections: readonly (readonly Selection[])[];
}

/** One resumable piece of an experiment. */
export interface WorkUnit {
  /** Unique within the experiment, file-name safe after escaping, stable from run to run. */
  readonly key: string;
  /** Tokens this unit pushes through each model, for the estimate of the time left. */
  readonly work: Readonly<Partial<Record<ModelRole, number>>>;
  /** What the value depends on besides models, scale and seed, such as token ids; part of the cache key. */
  readonly inputs: JsonValue;
  /** Measures. */
  run(context: ExperimentContext): Promise<JsonValue>;
}

/** A finished unit. */
export interface WorkUnitResult {
  /** Key of the unit. */
  readonly key: string;
  /** What its `run` returned. */
  readonly value: JsonValue;
}

/** A model as a summary sees it: sizes, types and name. */
export type NamedShape = ModelShape & Pick<ExperimentModel, "name" | "parametersByType">;

/** Finished units and where they were measured: all that a summary may use. */
export interface SummaryInput extends Pick<ExperimentContext, "scale" | "seed" | "isDefaultPair"> {
  /** Finished units in plan order. */
  readonly units: readonly WorkUnitResult[];
  /** The large model. */
  readonly large: NamedShape;
  /** The small model. */
  readonly small: NamedShape;
  /** The third model, if any. */
  readonly other?: NamedShape;
}

/** Graded answers of an evaluation's folder. */
export interface GradedAnswers {
  /** Models that answered, by hash. */
  readonly models: { readonly large: string; readonly small?: string };
  /** Tasks. */
  readonly tasks: readonly EvaluatedTask[];
  /** Scores item by item. */
  readonly scores: readonly ItemScore[];
}

/** What an experiment tells from graded answers, in place of the agreement that it measures itself. */
export interface GradedPart {
  /** Names of the tasks that it reads. */
  readonly tasks: readonly string[];
  /** What each number is compared with. */
  readonly claims: Readonly<Record<string, Claim>>;
  /** Turns scores into numbers, tables and pictures; numbers that could not be measured are undefined. */
  summarise(answers: GradedAnswers, input: SummaryInput): Omit<ExperimentResult, "values"> & {
    readonly values: Readonly<Record<string, Measured | undefined>>;
  };
}

/** A question of the paper and the code that answers it. */
export interface Experiment {
  /** File stem, result file name and command-line name. */
  readonly name: string;
  /** Address of the module that measures it: units are measured again when its code changes. */
  readonly module: string;
  /** Heading of its section in the report. */
  readonly title: string;
  /** The question, one sentence. */
  readonly question: string;
  /** Figure or table of the paper. */
  readonly source: string;
  /** Whether it decodes under policies, so that its units also depend on their code. */
  readonly usesPolicies?: boolean;
  /** Models and datasets it reads. */
  readonly inputs: readonly (ModelRole | DatasetName)[];
  /** What each measured number is compared with. */
  readonly claims: Readonly<Record<string, Claim>>;
  /** Lists the units; reads texts and counts tokens, runs no model. */
  plan(context: ExperimentContext): Promise<readonly WorkUnit[]>;
  /** Turns unit values into numbers, tables and pictures; pure and fast. */
  summarise(input: SummaryInput): ExperimentResult;
  /** What it tells from graded answers, if any are given. */
  readonly graded?: GradedPart;
  /** Whether it runs models and reads graded answers beside them. */
  readonly readsAnswers?: boolean;
  /**
   * Checks settings that it is to compare instead of its own; there is none where it compares no others.
   *
   * @throws {RequirementError} If it cannot compare one.
   */
  readonly checkSettings?: (settings: readonly string[]) => void;
}
