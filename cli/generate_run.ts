/**
 * Runs one policy for `generate`: freely, or teacher-forced with the tokens of another text.
 *
 * @module
 */

import type { CacheBudget } from "../cache/budget.ts";
import type { PairMatchOptions } from "../decoding/scoring/head_matching.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { teacherForce } from "../decoding/forced/teacher_force.ts";
import type { GenerationStep } from "../decoding/text/loop.ts";
import { generateAll } from "../decoding/text/generate.ts";
import type { SamplingOptions } from "../decoding/text/sampling.ts";
import type { DraftOptions } from "../decoding/text/setup.ts";
import type { SmallModelCut } from "../decoding/scoring/small_model.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { type PolicyRun, traceEntries, type TraceEntry } from "./generate_report.ts";

/** What all runs of a command line share. */
export interface RunSettings {
  /** Models. */
  readonly models: ModelPair;
  /** Token ids that are continued. */
  readonly prompt: readonly number[];
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** How a small model is made cheaper. */
  readonly cut: SmallModelCut;
  /** Where dropped tokens go. */
  readonly store: "resident" | "tiered";
  /** How heads are matched. */
  readonly match: PairMatchOptions;
  /** Whether the small model drafts, where a policy has one. */
  readonly drafts: DraftOptions;
  /** How tokens are drawn; the likeliest one if left out. */
  readonly sampling?: SamplingOptions;
  /** Most new tokens. */
  readonly newTokens: number;
  /** Steps whose selections are wanted, ascending. */
  readonly tracedSteps: readonly number[];
  /** Most decode steps that run before their tokens are read; chosen by the device if left out. */
  readonly ahead?: number;
  /** Whether the run continues after a token that ends a text. */
  readonly ignoresEnd: boolean;
  /** Whether statistics or a trace of what was selected are wanted. */
  readonly hasSelections: boolean;
  /** Tokens forced after the prompt. */
  readonly teacherForced?: readonly number[];
  /** Ends the run. */
  readonly signal: AbortSignal;
  /** Receives text as it comes; not with forced tokens. */
  readonly onText?: (text: string) => void;
  /** Told what is done, with the share that is done. */
  readonly onProgress?: (stage: string, share: number) => void;
}

/**
 * Runs a policy.
 *
 * @param settings What is shared.
 * @returns Tokens, text, statistics, trace.
 * @throws The signal's reason if it aborts.
 */
export async function runPolicy(
  policy: ResolvedPolicy,
  settings: RunSettings,
): Promise<PolicyRun> {
  const trace: TraceEntry[] = [];
  const { models, budget, prompt, tracedSteps } = settings;
  const setup = { policy, budget, pair: models, promptTokens: prompt.length };
  const total = settings.teacherForced?.length ?? settings.newTokens;
  const onStep = (step: GenerationStep) => {
    settings.onProgress?.(policy.name, step.step / total);
    if (tracedSteps.includes(step.step)) trace.push(...traceEntries(step, setup));
  };
  const common = {
    policy,
    budget,
    store: settings.store,
    hasSelections: settings.hasSelections,
    ...(policy.saliencySource === "small" && { ...settings.cut, match: settings.match }),
    signal: settings.signal,
    onStep,
    onPrefill: (share: number) => settings.onProgress?.(`${policy.name}, prompt`, share),
  };
  const { teacherForced } = settings;
  const drafts = policy.saliencySource === "small" ? settings.drafts : {};
  const run = teacherForced
    ? runTeacherForced({ ...settings, teacherForced }, common)
    : runFreely(settings, { ...common, ...drafts });
  return { policy: policy.name, ...await run, trace };
}

type Common = Parameters<typeof generateAll>[2] & object;

async function runFreely(
  settings: RunSettings,
  common: Common,
): Promise<Omit<PolicyRun, "policy" | "trace">> {
  const { models, prompt, newTokens, onText } = settings;
  // The step after the last token is only run to be traced.
  const steps = settings.tracedSteps.at(-1) ?? 0;
  const { sequences: [sequence], statistics } = await generateAll(models, prompt, {
    ...common,
    maxNewTokens: Math.max(newTokens, steps + 1),
    ...(settings.ignoresEnd && { stopTokens: [] }),
    ...(settings.sampling && { sampling: settings.sampling }),
    ...(settings.ahead !== undefined && { ahead: settings.ahead }),
    onToken: ({ index, text }) => index < newTokens && onText?.(text),
  });
  settings.signal.throwIfAborted();
  const tokens = sequence!.tokens.slice(0, newTokens);
  const isCut = tokens.length < sequence!.tokens.length;
  const text = isCut ? textOf(settings, tokens) : sequence!.text;
  return { tokens, text, stats: { ...statistics, newTokens: [tokens.length] } };
}

async function runTeacherForced(
  settings: RunSettings & { readonly teacherForced: readonly number[] },
  common: Common,
): Promise<Omit<PolicyRun, "policy" | "trace">> {
  const { models, prompt, teacherForced } = settings;
  const { quality, chosen, statistics } = await teacherForce(models, prompt, {
    ...common,
    tokens: teacherForced,
  });
  return {
    tokens: teacherForced,
    text: textOf(settings, teacherForced),
    stats: statistics,
    quality,
    chosen,
  };
}

function textOf({ models: { large } }: RunSettings, tokens: readonly number[]): string {
  return large.tokenizer?.decode(tokens, { skipSpecialTokens: true }) ?? "";
}
