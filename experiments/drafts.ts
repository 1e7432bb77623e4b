/**
 * Drafts of the small model that guides: how many tokens a pass of the large model gives, and what the small one runs.
 *
 * @module
 */

import { generateAll } from "../decoding/text/generate.ts";
import { settingOf, variantOf } from "../evaluation/policy_variants.ts";
import { absoluteOf } from "./claims.ts";
import { policyBatches, policySizes, type PolicyText } from "./decoded/policy_texts.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  SummaryInput,
} from "./experiment.ts";
import { tableOf } from "./result.ts";
import { defined, measuredMean, round } from "./similarity.ts";

const NAME = "drafts";
const BUDGET = 0.2;
const DRAFTS = 4;
const KEYS = ["smallkv", "queryAware"] as const;

/** Totals of one text under one policy. */
type DraftCell = {
  readonly key: typeof KEYS[number];
  /** New tokens per pass of the large model. */
  readonly tokensPerPass: number;
  /** Passes of the small model per new token. */
  readonly smallPerToken: number;
  /** Share of the drafts that were accepted. */
  readonly accepted: number;
};

/** Section A.3 on speculative decoding. */
export const drafts: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Drafts of the small model",
  question: "What do drafts of the small model that guides give, at a budget of 20 %?",
  source: "A.3",
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    tokensPerPass: absoluteOf("C61", {
      statement: `new tokens per pass of the large model under SmallKV, ${DRAFTS} drafts`,
      note: "The cited figure is a speed-up with other models; time is not compared.",
    }),
    smallPerToken: absoluteOf("C61", {
      statement: "passes of the small model per new token under SmallKV",
      paper: "asserted",
      note: "Without drafts it is 1; drafts by a model of its own would add their passes.",
    }),
  },
  async plan(context) {
    const batches = await policyBatches(context, context.scale === "smoke" ? { items: 1 } : {});
    const { newTokens } = policySizes(context);
    return batches.flatMap(({ texts }) => texts).map((text) => {
      const tokens = KEYS.length * (text.prompt.length + 2 * newTokens);
      return {
        key: text.id,
        work: { large: tokens, small: tokens },
        inputs: JSON.parse(
          JSON.stringify({
            text,
            newTokens,
            DRAFTS,
            settings: KEYS.map((key) => settingOf(key, BUDGET)),
          }),
        ),
        run: (context: ExperimentContext) => writeWithDrafts(context, text, newTokens),
      };
    });
  },
  summarise,
};

async function writeWithDrafts(
  context: ExperimentContext,
  { prompt }: PolicyText,
  newTokens: number,
): Promise<DraftCell[]> {
  const pair = { large: await context.large.load(), small: await context.small.load() };
  const cells: DraftCell[] = [];
  for (const key of KEYS) {
    const { policy, budget, options } = { options: {}, ...settingOf(key, BUDGET) };
    const { sequences: [written], statistics: { speculation } } = await generateAll(pair, prompt, {
      policy,
      budget,
      ...options,
      speculative: DRAFTS,
      maxNewTokens: 2 * newTokens,
      signal: context.signal,
    });
    context.signal.throwIfAborted();
    if (!speculation || speculation.blocks === 0) continue;
    const { tokensPerBlock, smallForwards, accepted, drafted } = speculation;
    cells.push({
      key,
      tokensPerPass: round(tokensPerBlock),
      smallPerToken: round(smallForwards / written!.tokens.length),
      accepted: drafted === 0 ? 0 : round(accepted / drafted),
    });
  }
  return cells;
}

function summarise({ units, seed }: SummaryInput): ExperimentResult {
  const cells = units.flatMap(({ value }) => value as unknown as DraftCell[]);
  const over = (key: typeof KEYS[number], read: (cell: DraftCell) => number) =>
    measuredMean(cells.filter((cell) => cell.key === key).map(read), { seed });
  const rows = KEYS.map((key) => ({
    "policy": variantOf(key).label,
    "tokens per pass": over(key, ({ tokensPerPass }) => tokensPerPass),
    "small passes per token": over(key, ({ smallPerToken }) => smallPerToken),
    "accepted (%)": over(key, ({ accepted }) => 100 * accepted),
    "texts": cells.filter((cell) => cell.key === key).length,
  }));
  return {
    values: defined({
      tokensPerPass: over("smallkv", ({ tokensPerPass }) => tokensPerPass),
      smallPerToken: over("smallkv", ({ smallPerToken }) => smallPerToken),
    }),
    tables: [tableOf(NAME, `Drafts at ${100 * BUDGET} %, ${DRAFTS} a pass`, rows)],
    figures: [],
    notes: [],
  };
}
