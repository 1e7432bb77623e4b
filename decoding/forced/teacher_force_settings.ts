/**
 * One text under many policies at once: its prompt is run once, and each step runs all of them along with the full cache.
 *
 * @module
 */

import { klDivergence, largestIndex } from "../../analysis/quality.ts";
import type { Selection } from "../../cache/policy.ts";
import { checkInteger } from "../../core/check.ts";
import { wholeCapacity } from "../engine/parts.ts";
import { PromptRunner } from "../engine/prompt_runner.ts";
import {
  fittingSequences,
  openSettings,
  type PolicySetting,
  promptSetting,
  settingBatches,
} from "../engine/settings.ts";
import type { PromptSnapshot } from "../engine/snapshots.ts";
import type { ModelPair } from "../engine/types.ts";
import type { PolicySession } from "../engine/policy_session.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { type StepCost, stepCost } from "../selection/cost.ts";

/** A text in two parts. */
export interface TeacherForcedText {
  /** Token ids that are run exactly. */
  readonly prompt: readonly number[];
  /** Token ids that follow, at least one, given one at a time. */
  readonly continuation: readonly number[];
}

/** Selections of one step under one setting. */
export interface SelectionStep {
  /** Index of the setting. */
  readonly setting: number;
  /** Index of the token of the continuation that was run. */
  readonly step: number;
  /** What the step's attention saw, one per head group. */
  readonly selections: readonly Selection[];
}

/** A text whose continuation may be left to the full cache. */
export interface OpenText {
  /** Token ids that are run exactly. */
  readonly prompt: readonly number[];
  /** Token ids that follow, given one at a time; those that the full cache would write if left out. */
  readonly continuation?: readonly number[];
}

/** Settings to run, and how. */
export interface SettingsOptions {
  /** Policies, choices, budgets. */
  readonly settings: readonly PolicySetting[];
  /** Tokens that the full cache writes for a text without a continuation. */
  readonly newTokens: number;
  /** Tokens that end such a continuation and are not part of it; one that it would begin with is all of it. */
  readonly endTokens: readonly number[];
  /** Most sequences side by side; as many as fit a gibibyte if left out. */
  readonly sequences?: number;
  /** Receives what each step's attention saw. */
  readonly onSelections?: (step: SelectionStep) => void;
  /** Called after each step with the steps done and their number, over all batches. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between steps. */
  readonly signal?: AbortSignal;
}

/** The full cache, from which divergence is measured in every batch. */
const FULL: PolicySetting = { policy: "full", budget: { ratio: 1 } };

/**
 * Decodes a text under settings and compares each step with the full cache, which decodes along with them.
 *
 * @param pair Models.
 * @param text The text.
 * @param options Settings, limits, progress, signal.
 * @returns One run per setting; for a text without a continuation, the `reference` of each is what the full cache wrote.
 * @throws {RequirementError} If a setting is not allowed or the text does not fit the models.
 */
export async function teacherForceSettings(
  pair: ModelPair,
  text: OpenText,
  options: SettingsOptions,
): Promise<TeacherForcedRun[]> {
  const { settings, newTokens, onProgress } = options;
  const count = text.continuation?.length ?? newTokens;
  const parts = { prompt: text.prompt.length, continuation: count };
  for (const [name, value] of Object.entries(parts)) {
    checkInteger("force a text", `tokens of its ${name}`, { value, min: 1 });
  }
  const capacity = text.prompt.length + count + 1;
  const all = [FULL, ...settings];
  if (options.sequences !== undefined) {
    checkInteger("force a text", "sequences", { value: options.sequences, min: 1 });
  }
  const most = options.sequences ?? fittingSequences(pair, capacity, { settings: all });
  const batches = settingBatches(all, most);
  const steps = count - 1;
  const reference: Reference = { rows: [], chosen: [] };
  const runs = new Array<TeacherForcedRun>(all.length);
  using shared = await sharePrompt(pair, text.prompt, { ...options, all, batches, capacity });
  for (const [index, batch] of batches.entries()) {
    using session = openSettings(pair, batch.map((setting) => all[setting]!), capacity);
    const starts = batch.flatMap((setting) => shared.starts.get(setting) ?? []);
    const recorded = await runBatch(session, text, {
      ...options,
      reference,
      starts: starts.length === batch.length ? starts : undefined,
      sequences: batch.length,
      onSelections: ({ setting: place, ...seen }) =>
        batch[place]! > 0 && options.onSelections?.({ setting: batch[place]! - 1, ...seen }),
      onStep: (done) => onProgress?.(index * steps + done, batches.length * steps),
    });
    batch.forEach((setting, place) => runs[setting] = recorded[place]!);
  }
  return runs.slice(1);
}

/** What a sequence begins with whose prompt was run elsewhere. */
interface SharedStart {
  readonly snapshot: PromptSnapshot;
  /** Logits after the prompt, f32 [vocabulary]. */
  readonly logits: Float32Array;
}

/**
 * Runs the prompt once for all batches, if there are several; not for settings that match heads in ways of their own.
 *
 * @returns What each setting begins with; nothing for those that run the prompt themselves.
 */
async function sharePrompt(
  pair: ModelPair,
  prompt: readonly number[],
  { all, batches, capacity, signal }: Pick<SettingsOptions, "signal"> & {
    readonly all: readonly PolicySetting[];
    readonly batches: readonly (readonly number[])[];
    readonly capacity: number;
  },
): Promise<Disposable & { readonly starts: ReadonlyMap<number, SharedStart> }> {
  const starts = new Map<number, SharedStart>();
  const usual = batches.filter(([first]) => all[first!]!.smallBudget === undefined);
  if (usual.length < 2) return { starts, [Symbol.dispose]() {} };
  const indices = usual.flat();
  const settings = indices.map((index) => promptSetting(all[index]!));
  const logits = new Map<number, Float32Array>();
  const sizes = { capacity: wholeCapacity(capacity), chunk: 128 };
  using runner = new PromptRunner(pair, { settings, ...sizes });
  const request = { prefix: [], rest: prompt, settings: [...settings.keys()] };
  const ran = await runner.run(request, {
    ...(signal && { signal }),
    onLogits: (row, own) => own.forEach((setting) => logits.set(setting, row)),
  });
  indices.forEach((index, setting) => {
    const snapshot = ran.snapshots.get(setting)!;
    starts.set(index, { snapshot, logits: logits.get(setting)! });
  });
  return { starts, [Symbol.dispose]: () => ran[Symbol.dispose]() };
}

/** Predictions of the full cache, step by step, from the first sequence of the first batch. */
interface Reference {
  /** Logits that predict each token of a continuation. */
  readonly rows: Float32Array[];
  /** The most likely token of each. */
  readonly chosen: number[];
}

async function runBatch(
  session: PolicySession,
  { prompt, continuation }: OpenText,
  options: SettingsOptions & {
    readonly reference: Reference;
    readonly sequences: number;
    /** What the sequences begin with; if left out, they run the prompt. */
    readonly starts: readonly SharedStart[] | undefined;
    readonly onStep: (done: number) => void;
  },
): Promise<TeacherForcedRun[]> {
  const { reference, newTokens, endTokens, signal } = options;
  const isFirst = reference.rows.length === 0;
  const sequence = [...Array(options.sequences).keys()];
  const recorders = sequence.map((place) =>
    new TeacherForcedRecorder(reference, session.settings[place]!.policy)
  );
  const add = (rows: readonly Float32Array[]) => {
    if (isFirst) reference.rows.push(rows[0]!.slice());
    if (isFirst) reference.chosen.push(largestIndex(rows[0]!));
    recorders.forEach((recorder, place) => recorder.add(rows[place]!));
  };
  add(await begin(session, prompt, { ...options, sequence }));
  // What the full cache writes in the first batch is given to the others.
  const given = continuation ?? reference.chosen;
  const mayEnd = isFirst && !continuation && endTokens.length > 0;
  const isEnd = (token: number) => mayEnd && endTokens.includes(token);
  const count = continuation?.length ?? (isFirst ? newTokens : given.length);
  // The step that predicts an end is no part of the text: bytes are those before it, as in all other batches.
  let bytes = mayEnd ? await keptBytes(session) : [];
  let hasEnded = isEnd(reference.chosen[0]!);
  for (let step = 0; step < count - 1 && !hasEnded; step++) {
    signal?.throwIfAborted();
    const tokens = sequence.map(() => given[step]!);
    const length = session.lengths[0]! + 1;
    const { logits, selections } = await session.step({ tokens, logits: true });
    const size = logits!.length / sequence.length;
    const rows = sequence.map((place) => logits!.subarray(place * size, (place + 1) * size));
    hasEnded = isEnd(largestIndex(rows[0]!));
    if (hasEnded) break;
    selections.forEach((perGroup, place) => {
      recorders[place]!.see(perGroup, length);
      options.onSelections?.({ setting: place, step, selections: perGroup });
    });
    add(rows);
    if (mayEnd) bytes = await keptBytes(session);
    options.onStep(step + 1);
  }
  if (!mayEnd) bytes = await keptBytes(session);
  return recorders.map((recorder, place) => recorder.run(bytes[place]!));
}

/** Bytes of each sequence. */
async function keptBytes(session: PolicySession): Promise<TeacherForcedRun["bytes"][]> {
  const bytes: TeacherForcedRun["bytes"][] = [];
  for (const place of session.lengths.keys()) bytes.push(await session.keptBytes(place));
  return bytes;
}

/** Puts the prompt into all sequences; returns the logits after it. */
async function begin(
  session: PolicySession,
  prompt: readonly number[],
  { sequence, starts, signal }: Pick<SettingsOptions, "signal"> & {
    readonly sequence: readonly number[];
    readonly starts: readonly SharedStart[] | undefined;
  },
): Promise<Float32Array[]> {
  const first: Float32Array[] = [];
  if (starts) {
    for (const place of sequence) await session.put(place, starts[place]!.snapshot);
    return starts.map(({ logits }) => logits);
  }
  const onLogits = (logits: Float32Array, settings: readonly number[]) =>
    settings.forEach((place) => first[place] = logits);
  await session.prefill(prompt, { sequence, onLogits, ...(signal && { signal }) });
  return first;
}

/**
 * Effects of a policy on each token of a continuation; arrays of its length. The first token is predicted by the prompt,
 * so it costs nothing, and diverges only by rounding unless the policy prunes the prompt.
 */
export interface TeacherForcedRun {
  /** Divergence from the full cache, in nats. */
  readonly kl: readonly number[];
  /** Token that the policy would choose. */
  readonly chosen: readonly number[];
  /** Token that the full cache would choose. */
  readonly reference: readonly number[];
  /** Half-entries that the step's attention saw over those of the full cache, mean over selections. */
  readonly cost: readonly number[];
  /** Share of the tokens seen, without the newest, that the step before did not see, mean over selections. */
  readonly churn: readonly number[];
  /** Half-entries loaded from the host, mean over selections. */
  readonly loaded: readonly number[];
  /** Bytes that the session counts of the text after its last step; see `PolicySession.keptBytes`. */
  readonly bytes: Awaited<ReturnType<PolicySession["keptBytes"]>>;
}

/** Collects the steps of one text under one policy. */
class TeacherForcedRecorder {
  readonly #reference: Reference;
  readonly #policy: ResolvedPolicy;
  readonly #kl: number[] = [];
  readonly #chosen: number[] = [];
  readonly #costs: StepCost[] = [];
  #before: readonly Selection[] | undefined;

  /** Starts with nothing; the reference must have as many steps as will be recorded. */
  constructor(reference: Reference, policy: ResolvedPolicy) {
    this.#reference = reference;
    this.#policy = policy;
  }

  /** Adds the selections of a step. */
  see(selections: readonly Selection[], tokens: number): void {
    this.#costs.push(stepCost(this.#before, selections, tokens, this.#policy));
    this.#before = selections;
  }

  /** Adds the logits that predict the next token. */
  add(logits: Float32Array): void {
    this.#kl.push(klDivergence(this.#reference.rows[this.#kl.length]!, logits));
    this.#chosen.push(largestIndex(logits));
  }

  /** The recorded run, with the bytes that are kept at its end. */
  run(bytes: TeacherForcedRun["bytes"]): TeacherForcedRun {
    const costs = [{ held: 0, churn: 0, loaded: 0 }, ...this.#costs];
    return {
      kl: this.#kl,
      chosen: this.#chosen,
      reference: this.#reference.chosen,
      cost: costs.map(({ held }) => held),
      churn: costs.map(({ churn }) => churn),
      loaded: costs.map(({ loaded }) => loaded),
      bytes,
    };
  }
}
