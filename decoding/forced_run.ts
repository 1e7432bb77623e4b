/**
 * Teacher-forced runs: the same texts under the full cache and under many policies, compared step by step.
 *
 * @module
 */

import { klDivergence, largestIndex } from "../analysis/quality.ts";
import type { Selection } from "../cache/policy.ts";
import { checkInteger } from "../core/check.ts";
import { openSetting, openSettings, type PolicySetting, settingBatches } from "./policy_setting.ts";
import type { ModelPair, PolicySession } from "./policy_session.ts";
import { type StepCost, stepCost } from "./selection_cost.ts";
import { fittingSequences } from "./sequence_bytes.ts";
import { Session } from "./session.ts";

/** A text in two parts. */
export interface ForcedText {
  /** Token ids that are run exactly. */
  readonly prompt: readonly number[];
  /** Token ids that follow, at least one, given one at a time. */
  readonly continuation: readonly number[];
}

/**
 * What a policy did to each token of a continuation; arrays of its length. The first token is predicted by the exact
 * prompt, so it diverges by rounding alone and costs nothing.
 */
export interface ForcedRun {
  /** Divergence from the full cache, in nats. */
  readonly kl: readonly number[];
  /** Token that the policy would choose. */
  readonly chosen: readonly number[];
  /** Token that the full cache would choose. */
  readonly reference: readonly number[];
  /** Half-entries that the step's attention saw over those of the full cache, mean over selections. */
  readonly cost: readonly number[];
  /** Share of the tokens seen, the newest left out, that the step before did not see, mean over selections. */
  readonly churn: readonly number[];
  /** Half-entries that came back from the host, mean over selections. */
  readonly loaded: readonly number[];
}

/** How a setting is run. */
export interface ForcedOptions {
  /** Receives what each step's attention saw. */
  readonly onSelections?: (step: SelectionStep) => void;
  /** Called after each step with the steps done and their number. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between steps. */
  readonly signal?: AbortSignal;
}

/** How many settings are run. */
export interface ManyOptions extends Omit<ForcedOptions, "onSelections"> {
  /** Most sequences side by side; as many as fit a gibibyte if left out. */
  readonly sequences?: number;
}

/** Selections of one step of one text. */
export interface SelectionStep {
  /** Index of the text. */
  readonly text: number;
  /** Index of the token of the continuation that was run. */
  readonly step: number;
  /** What the step's attention saw, one per unit. */
  readonly selections: readonly Selection[];
}

/** Texts with what the full cache says about them; settings are compared with it one after the other. */
export class ForcedTexts {
  readonly #pair: ModelPair;
  readonly #texts: readonly ForcedText[];
  readonly #references: readonly ReferenceText[];

  private constructor(
    pair: ModelPair,
    texts: readonly ForcedText[],
    references: readonly ReferenceText[],
  ) {
    this.#pair = pair;
    this.#texts = texts;
    this.#references = references;
  }

  /**
   * Runs texts with the full cache, each in one go.
   *
   * @param pair Models.
   * @param texts At least one text; those with continuations of about one length go well together.
   * @param options Signal.
   * @returns The texts, ready for any number of settings.
   * @throws {RangeError} If a text does not fit the model or has no continuation.
   */
  static async open(
    pair: ModelPair,
    texts: readonly ForcedText[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ForcedTexts> {
    checkInteger("force texts", "number of texts", { value: texts.length, min: 1 });
    const references: ReferenceText[] = [];
    for (const text of texts) references.push(await runReference(pair, text, options.signal));
    return new ForcedTexts(pair, texts, references);
  }

  /**
   * Decodes the texts under a setting, side by side.
   *
   * @param setting Policy, choices, budget.
   * @param options Progress, signal, receiver of selections.
   * @returns One run per text.
   * @throws {RangeError} If the setting is not allowed.
   */
  async run(setting: PolicySetting, options: ForcedOptions = {}): Promise<ForcedRun[]> {
    const { capacity } = this.#sizes(this.#texts);
    using session = openSetting(this.#pair, setting, { sequences: this.#texts.length, capacity });
    const lanes = this.#lanes();
    const signal = options.signal && { signal: options.signal };
    for (const [sequence, { text, recorder }] of lanes.entries()) {
      const onLogits = (logits: Float32Array) => recorder.add(logits);
      await session.prefill(text.prompt, { sequence, onLogits, ...signal });
    }
    await this.#steps(session, lanes, options);
    return lanes.map(({ recorder }) => recorder.run());
  }

  /**
   * Decodes the texts under many settings, one text after the other: its prompt is run once for all settings that fit the
   * memory together, and one step runs all of them.
   *
   * @param settings Policies, choices, budgets.
   * @param options Progress over all steps, signal; most sequences side by side, as many as fit if left out.
   * @returns Runs, [setting][text].
   * @throws {RangeError} If a setting is not allowed.
   */
  async runAll(
    settings: readonly PolicySetting[],
    options: ManyOptions = {},
  ): Promise<ForcedRun[][]> {
    const runs: ForcedRun[][] = settings.map(() => []);
    const { onProgress, signal } = options;
    const rounds = this.#texts.map((text) => {
      const { capacity, steps } = this.#sizes([text]);
      const most = options.sequences ?? fittingSequences(this.#pair, capacity);
      return { text, capacity, steps, batches: settingBatches(settings, most) };
    });
    const total = rounds.reduce((sum, { steps, batches }) => sum + steps * batches.length, 0);
    let before = 0;
    for (const [index, { text, capacity, steps, batches }] of rounds.entries()) {
      for (const batch of batches) {
        const own = batch.map((setting) => settings[setting]!);
        using session = openSettings(this.#pair, own, capacity);
        const lanes = batch.map(() => this.#lanes()[index]!);
        await session.prefill(text.prompt, {
          sequence: [...batch.keys()],
          onLogits: (logits) => lanes.forEach(({ recorder }) => recorder.add(logits)),
          ...(signal && { signal }),
        });
        await this.#steps(session, lanes, {
          ...(signal && { signal }),
          onProgress: (done) => onProgress?.(before + done, total),
        });
        before += steps;
        batch.forEach((setting, lane) => runs[setting]!.push(lanes[lane]!.recorder.run()));
      }
    }
    return runs;
  }

  #lanes(): ForcedLane[] {
    return this.#texts.map((text, index) => ({
      text,
      recorder: new Recorder(this.#references[index]!),
    }));
  }

  #sizes(texts: readonly ForcedText[]): { readonly steps: number; readonly capacity: number } {
    const steps = Math.max(...texts.map(({ continuation }) => continuation.length)) - 1;
    return { steps, capacity: Math.max(...texts.map(({ prompt }) => prompt.length)) + steps + 2 };
  }

  async #steps(
    session: PolicySession,
    lanes: readonly ForcedLane[],
    { onSelections, onProgress, signal }: ForcedOptions,
  ): Promise<void> {
    const { steps } = this.#sizes(lanes.map(({ text }) => text));
    const { vocabulary } = this.#pair.large.config;
    for (let step = 0; step < steps; step++) {
      signal?.throwIfAborted();
      // A text that is done repeats its end until the longest one is.
      const tokens = lanes.map(({ text: { continuation } }) =>
        continuation[Math.min(step, continuation.length - 1)]!
      );
      const lengths = [...session.lengths];
      const { logits, selections } = await session.step({ tokens, logits: true });
      for (const [lane, { text, recorder }] of lanes.entries()) {
        if (step >= text.continuation.length - 1) continue;
        const own = selections[lane]!;
        recorder.see(own, lengths[lane]! + 1);
        recorder.add(logits!.subarray(lane * vocabulary, (lane + 1) * vocabulary));
        onSelections?.({ text: lane, step, selections: own });
      }
      onProgress?.(step + 1, steps);
    }
  }
}

/** One sequence of a run. */
interface ForcedLane {
  readonly text: ForcedText;
  readonly recorder: Recorder;
}

/** What the full cache says of each token of a continuation. */
interface ReferenceText {
  /** Logits that predict it. */
  readonly rows: readonly Float32Array[];
  /** The most likely one. */
  readonly chosen: readonly number[];
}

async function runReference(
  { large }: ModelPair,
  { prompt, continuation }: ForcedText,
  signal?: AbortSignal,
): Promise<ReferenceText> {
  const parts = { prompt: prompt.length, continuation: continuation.length };
  for (const [name, value] of Object.entries(parts)) {
    checkInteger("force a text", `tokens of its ${name}`, { value, min: 1 });
  }
  const { vocabulary } = large.config;
  const rows: Float32Array[] = [];
  const onLogits = (logits: Float32Array) => {
    for (let start = 0; start < logits.length; start += vocabulary) {
      rows.push(logits.slice(start, start + vocabulary));
    }
  };
  const stop = signal && { signal };
  using session = new Session(large, { capacity: prompt.length + continuation.length });
  if (prompt.length > 1) await session.prefill(prompt.slice(0, -1), { logits: "none", ...stop });
  const last = [prompt.at(-1)!, ...continuation.slice(0, -1)];
  await session.prefill(last, { logits: "all", onLogits, ...stop });
  return { rows, chosen: rows.map(largestIndex) };
}

/** Collects the steps of one text. */
class Recorder {
  readonly #reference: ReferenceText;
  readonly #kl: number[] = [];
  readonly #chosen: number[] = [];
  readonly #costs: StepCost[] = [];
  #before: readonly Selection[] | undefined;

  constructor(reference: ReferenceText) {
    this.#reference = reference;
  }

  /** Takes the selections of a step. */
  see(selections: readonly Selection[], tokens: number): void {
    this.#costs.push(stepCost(this.#before, selections, tokens));
    this.#before = selections;
  }

  /** Takes the logits that predict the next token. */
  add(logits: Float32Array): void {
    this.#kl.push(klDivergence(this.#reference.rows[this.#kl.length]!, logits));
    this.#chosen.push(largestIndex(logits));
  }

  run(): ForcedRun {
    const costs = [{ held: 0, churn: 0, loaded: 0 }, ...this.#costs];
    return {
      kl: this.#kl,
      chosen: this.#chosen,
      reference: this.#reference.chosen,
      cost: costs.map(({ held }) => held),
      churn: costs.map(({ churn }) => churn),
      loaded: costs.map(({ loaded }) => loaded),
    };
  }
}
