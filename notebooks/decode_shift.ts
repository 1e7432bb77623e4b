/**
 * The saliency shift during decoding: what H2O dropped and a later step needed, head by head.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, figure 1(b)
 * @module
 */

import type { AttentionMap } from "../analysis/attention_map.ts";
import { matchHeads } from "../analysis/head_match.ts";
import type { Progress } from "../core/progress.ts";
import { h2o } from "../cache/policies/h2o.ts";
import type { Policy } from "../cache/policy.ts";
import { type AttentionTrace, traceAttention } from "../decoding/session/trace.ts";
import { type DropStep, dropTimeline } from "./drop_timeline.ts";
import { continueGreedily } from "./greedy.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { tokenLabels } from "./views/labels.ts";

/** How decoding is followed. */
export interface DecodeShiftOptions {
  /** Share of the tokens that is kept; 0.3 if left out. */
  readonly budgetRatio?: number;
  /** Most decode steps; 40 if left out. */
  readonly steps?: number;
  /** Ends the cell between two pieces of work. */
  readonly signal?: AbortSignal;
}

/** What chooses the tokens that are kept. */
export type Chooser = "h2o" | "smallSum" | "smallRow";

/** Names for legends. */
export const CHOOSERS: Readonly<Record<Chooser, string>> = {
  h2o: "H2O: the large head's sums, dropped for good",
  smallSum: "matched small head: sums (the paper)",
  smallRow: "matched small head: newest row",
};

/** What every head lacked at every step, by chooser. */
export interface DecodeShift {
  /** Label of each token of prompt and answer. */
  readonly labels: readonly string[];
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** What the model wrote with its full cache. */
  readonly answer: string;
  /** Share of the tokens that was kept. */
  readonly budgetRatio: number;
  /** Steps of each flat head. */
  readonly heads: Readonly<Record<Chooser, readonly (readonly DropStep[])[]>>;
  /** The flat head in which the newest row of the small model gains most over H2O. */
  readonly example: number;
  /** Layer and head of the example. */
  readonly exampleName: string;
}

/** Tokens of the matching window (D-3). */
const WINDOW = 200;

/**
 * Lets the large model answer the prompts of a lab with its full cache, then follows all heads as if tokens
 * had been dropped.
 *
 * @param lab The pair.
 * @param options Budget, steps, signal.
 * @returns What was kept and missed, by prompt.
 */
export async function decodeShifts(
  lab: Lab,
  options: DecodeShiftOptions = {},
): Promise<readonly DecodeShift[]> {
  return await withProgress("Follow decoding", async (progress) => {
    const shifts: DecodeShift[] = [];
    for (const prompt of lab.prompts) {
      shifts.push(await decodeShift(lab, { ...options, prompt, progress }));
      progress.advance();
    }
    return shifts;
  }, { total: lab.prompts.length });
}

async function decodeShift(
  lab: Lab,
  options: DecodeShiftOptions & { readonly prompt: string; readonly progress: Progress },
): Promise<DecodeShift> {
  const { budgetRatio = 0.3, steps = 40, progress } = options;
  const prompt = lab.tokenizer.encode(options.prompt);
  const promptTokens = prompt.length;
  progress.describe("answer");
  const tokens = await continueGreedily(lab.large, prompt, steps);
  progress.describe("attention of the large model");
  const large = await traceHeads(lab, "large", { tokens, ...options });
  progress.describe("attention of the small model");
  const small = await traceHeads(lab, "small", { tokens, ...options });
  progress.describe("dropping tokens");
  const guides = matchedMaps(large, small, Math.min(WINDOW, promptTokens));
  const follow = (chooser: Chooser) =>
    large.maps.map((map, head) =>
      dropTimeline(map, {
        policy: POLICIES[chooser],
        budgetRatio,
        promptTokens,
        ...(chooser === "h2o" ? {} : { guide: guides[head]! }),
        memory: chooser === "smallRow" ? "last" : "sum",
      })
    );
  const [own, smallSum, smallRow] = [follow("h2o"), follow("smallSum"), follow("smallRow")];
  const heads = { h2o: own, smallSum, smallRow };
  const example = largestGain(heads);
  const { queryHeads } = lab.large.config;
  return {
    labels: tokenLabels(lab.models.large, tokens),
    promptTokens,
    answer: lab.tokenizer.decode(tokens.slice(promptTokens), { skipSpecialTokens: true }).trim(),
    budgetRatio,
    heads,
    example,
    exampleName: `layer ${Math.floor(example / queryHeads)}, head ${example % queryHeads}`,
  };
}

/** Equal counts for all, so that only the choice differs. */
const GUIDED: Policy = { ...h2o, candidates: "all", timing: "before" };
const POLICIES: Readonly<Record<Chooser, Policy>> = { h2o, smallSum: GUIDED, smallRow: GUIDED };

async function traceHeads(
  lab: Lab,
  role: "large" | "small",
  options: { readonly tokens: readonly number[]; readonly signal?: AbortSignal },
): Promise<AttentionTrace> {
  const { tokens, signal } = options;
  return await traceAttention(lab[role], tokens, {
    heads: "all",
    checkpoints: [Math.min(WINDOW, tokens.length)],
    ...(signal && { signal }),
  });
}

/** For each large head the map of its matched small head. */
function matchedMaps(large: AttentionTrace, small: AttentionTrace, window: number): AttentionMap[] {
  const at = ({ layers, queryHeads, checkpoints }: AttentionTrace) => ({
    layers,
    queryHeads,
    tokens: window,
    accumulated: checkpoints[0]!,
  });
  const { match } = matchHeads(at(large), at(small));
  return Array.from(match, (head) => small.maps[head]!);
}

function largestGain(heads: DecodeShift["heads"]): number {
  const total = (steps: readonly DropStep[]) => steps.reduce((sum, step) => sum + step.missed, 0);
  const gains = heads.h2o.map((steps, head) => total(steps) - total(heads.smallRow[head]!));
  return gains.indexOf(Math.max(...gains));
}
