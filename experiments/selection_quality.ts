/**
 * What to ask the small model: how much of the large model's true attention lies on the tokens that each score keeps.
 *
 * @module
 */

import { DEFAULT_DECAY } from "../cache/policy_options.ts";
import { meanInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf, trendOf } from "./claims.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  ResultTable,
  SummaryInput,
  TeacherForcedText,
  WorkUnit,
} from "./experiment.ts";
import { lineOf, tableOf } from "./result.ts";
import { entryBytes } from "./decoded/policy_stats.ts";
import {
  completeText,
  policyBatches,
  type PolicyText,
  type TextBatch,
} from "./decoded/policy_texts.ts";
import { settingOf } from "../evaluation/policy_variants.ts";
import {
  keepBySource,
  type KeptTokens,
  scoreSources,
  type SelectionShare,
  shareOfAttention,
  type ShareShape,
} from "./decoded/selection_scores.ts";
import { defined, round, seeded } from "./similarity.ts";

const NAME = "selection_quality";
const RATIOS = [0.05, 0.1, 0.2, 0.4];
/** Names of the ways to keep tokens. */
const SOURCES = {
  accumulated: "small model, accumulated (SmallKV)",
  decayed: `small model, decayed (${DEFAULT_DECAY})`,
  row: "small model, current row",
  h2o: "H2O, dropped for good",
  global: "large model, accumulated over the full cache",
  bound: "large model, current row (upper bound)",
} as const;

type SourceKey = keyof typeof SOURCES;

/** Shares of one text by "source/budget". */
type ShareCell = { readonly group: string; readonly shares: Record<string, SelectionShare> };

/** Score sources compared. */
export const selectionQuality: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Attention on kept tokens by what ranks them",
  question: "How much of the large model's attention lies on the tokens that each score keeps?",
  source: "no counterpart",
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    accumulatedGain: trendOf(
      "C03",
      "true attention on kept tokens at 10 %, small model's accumulated score minus H2O",
      { unit: "%" },
    ),
    rowGain: trendOf("C03", "the same, small model's current row minus its accumulated score", {
      unit: "%",
      note: "Ranking by the current row is not in the paper.",
    }),
    decayedGain: trendOf(
      "C03",
      "the same, small model's decayed score minus its accumulated score",
      { unit: "%", note: "Ranking by a decayed sum is not in the paper." },
    ),
    churn: absoluteOf("C62", {
      statement: "kept tokens that the accumulated score exchanges per step at 10 %",
      unit: "%",
      note: "Asserted without a number, so ours is shown and not judged.",
    }),
  },
  async plan(context) {
    const isQuick = context.isDefaultPair && context.scale === "smoke";
    const batches = await policyBatches(context, isQuick ? { items: 1 } : {});
    return batches.flatMap((batch) => batch.texts.map((text) => textWorkUnit(batch, text)));
  },
  summarise,
};

function textWorkUnit({ group, newTokens }: TextBatch, text: PolicyText): WorkUnit {
  const tokens = text.prompt.length + (text.continuation?.length ?? newTokens);
  return {
    key: text.id,
    work: { large: 4 * tokens, small: 2 * tokens },
    inputs: JSON.parse(
      JSON.stringify({ group, text, newTokens, ratios: RATIOS, decay: DEFAULT_DECAY }),
    ),
    async run(context) {
      const complete = await completeText(context, text, newTokens);
      if (complete.continuation.length < 2) return null;
      const shares = await measureText(context, complete);
      return { group, shares: JSON.parse(JSON.stringify(shares)) };
    },
  };
}

async function measureText(
  context: ExperimentContext,
  text: TeacherForcedText,
): Promise<Record<string, SelectionShare>> {
  const { large } = context;
  const shape: ShareShape = {
    heads: large.layers * large.queryHeads,
    groupSize: large.queryHeads / large.kvHeads,
    promptTokens: text.prompt.length,
    steps: text.continuation.length - 1,
  };
  const { sources, truth } = await scoreSources(context, text, shape);
  const shares: Record<string, SelectionShare> = {};
  const judge = (key: SourceKey, ratio: number, kept: KeptTokens) => {
    const { all, withoutFirst, churn, loaded } = shareOfAttention(kept, shape, truth);
    shares[`${key}/${ratio}`] = {
      all: round(all),
      withoutFirst: round(withoutFirst),
      churn: round(churn),
      loaded: round(loaded),
    };
  };
  for (const [key, source] of Object.entries(sources)) {
    keepBySource(source, shape, RATIOS).forEach((kept, index) =>
      judge(key as SourceKey, RATIOS[index]!, kept)
    );
  }
  const settings = RATIOS.map((ratio) => settingOf("h2o", ratio));
  const selections = await context.selections({ ...text, newTokens: 1, settings });
  selections.forEach((own, index) =>
    judge("h2o", RATIOS[index]!, own.selections.map((units) => units.map(({ full }) => full)))
  );
  return shares;
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.flatMap(({ value }) => value ? [value as unknown as ShareCell] : []);
  if (cells.length === 0) return { values: {}, tables: [], figures: [], notes: ["No steps."] };
  const options = seeded({ seed: input.seed });
  const at = (key: SourceKey) => cells.map(({ shares }) => shares[`${key}/0.1`]!);
  const gain = (first: SourceKey, second: SourceKey) => {
    const [ours, other] = [at(first), at(second)];
    return meanInterval(ours.map(({ all }, text) => 100 * (all - other[text]!.all)), options);
  };
  return {
    values: defined({
      accumulatedGain: gain("accumulated", "h2o"),
      rowGain: gain("row", "accumulated"),
      decayedGain: gain("decayed", "accumulated"),
      churn: meanInterval(at("accumulated").map(({ churn }) => 100 * churn), options),
    }),
    tables: [shareTable(cells, input)],
    figures: [shareFigure(cells, input)],
    notes: [
      "Equal entries and no marginal tokens; true attention is that of the full cache at the same step.",
      "H2O really drops: its later choices follow from attention to what it has kept; it sees one token more than it keeps.",
    ],
  };
}

function shareTable(cells: readonly ShareCell[], input: SummaryInput): ResultTable {
  const entryKiB = entryBytes(input.large) / 1024;
  const rows = RATIOS.flatMap((ratio) =>
    (Object.keys(SOURCES) as SourceKey[]).map((key) => {
      const own = cells.map(({ shares }) => shares[`${key}/${ratio}`]!);
      const interval = (read: (share: SelectionShare) => number) => {
        const options = seeded({ seed: input.seed });
        return meanInterval(own.map((share) => 100 * read(share)), options);
      };
      return {
        "budget (%)": 100 * ratio,
        "score": SOURCES[key],
        "all tokens (%)": interval(({ all }) => all),
        "without the first 4 (%)": interval(({ withoutFirst }) => withoutFirst),
        "churn (%)": 100 * mean(own.map(({ churn }) => churn)),
        "loaded per step (KiB)": mean(own.map(({ loaded }) => loaded)) * entryKiB,
      };
    })
  );
  return tableOf(
    NAME,
    "True attention of the large model on kept tokens, by what ranks them",
    rows,
  );
}

function shareFigure(cells: readonly ShareCell[], input: SummaryInput): Figure {
  const series = (Object.keys(SOURCES) as SourceKey[]).map((key) => {
    const intervals = RATIOS.map((ratio) =>
      meanInterval(
        cells.map(({ shares }) => 100 * shares[`${key}/${ratio}`]!.all),
        seeded({ seed: input.seed }),
      )
    );
    return lineOf(SOURCES[key], RATIOS.map((ratio) => 100 * ratio), intervals);
  });
  return {
    name: "selection_shares",
    title: "True attention on kept tokens",
    kind: "line",
    xTitle: "budget (% of the full cache)",
    yTitle: "attention on kept tokens (%)",
    series,
    paper: [],
  };
}
