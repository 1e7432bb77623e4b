/**
 * Teacher-forced runs: the same texts under the full cache and under many policies, compared step by step.
 *
 * @module
 */

import { largestIndex } from "../analysis/quality.ts";
import type { Selection } from "../cache/policy.ts";
import { checkInteger } from "../core/check.ts";
import { ForcedRecorder, type ForcedRun, type ReferenceText } from "./forced_recorder.ts";
import { openSetting, type PolicySetting } from "./policy_setting.ts";
import type { ModelPair, PolicySession } from "./policy_session.ts";
import { Session } from "./session.ts";

export type { ForcedRun } from "./forced_recorder.ts";

/** A text in two parts. */
export interface ForcedText {
  /** Token ids that are run exactly. */
  readonly prompt: readonly number[];
  /** Token ids that follow, at least one, given one at a time. */
  readonly continuation: readonly number[];
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

  #lanes(): ForcedLane[] {
    return this.#texts.map((text, index) => ({
      text,
      recorder: new ForcedRecorder(this.#references[index]!),
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
  readonly recorder: ForcedRecorder;
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
