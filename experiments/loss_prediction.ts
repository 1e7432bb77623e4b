/**
 * Does similarity predict loss? The method assumes that a small head that looks alike picks the right tokens, and that
 * picking them keeps the answer.
 *
 * @module
 */

import { heldOutPredictions, rankCorrelation } from "../analysis/prediction.ts";
import { bootstrapInterval, ratioInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { absoluteOf } from "./claims.ts";
import { type BudgetLoss, measureLosses, type TextLoss } from "./decoded/head_losses.ts";
import {
  completeText,
  policyBatches,
  type PolicyText,
  type TextBatch,
} from "./decoded/policy_texts.ts";
import type {
  Claim,
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  GradedAnswers,
  Measured,
  ResultTable,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { tableOf } from "./result.ts";
import { defined, measuredMean, round, seeded } from "./similarity.ts";

const NAME = "loss_prediction";
const RATIOS = [0.05, 0.1, 0.2];
/** Budget of the numbers that are printed. */
const MAIN = "0.1";
/** Divergence below which logarithms would only show rounding, in nats. */
const LEAST_KL = 1e-4;
/** Texts below which held-out items say nothing. */
const LEAST_TEXTS = 4;

/** Whether similarity predicts loss. */
export const lossPrediction: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Does similarity predict loss?",
  question:
    "Do heads and texts that resemble the small model's lose less when it chooses the tokens?",
  source: "no counterpart",
  usesPolicies: true,
  readsAnswers: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    headRank: shown(
      "rank correlation over heads, similarity with attention kept at 10 %, mean over texts",
    ),
    headExplained: shown(
      "variance of a head's attention kept that similarity explains on texts held out",
      "%",
    ),
    otherExplained: shown("the same, its mean on other texts in place of similarity", "%"),
    textRank: shown("rank correlation over texts, mean similarity with divergence at 10 %"),
    textExplained: shown(
      "variance of the logarithm of divergence that similarity explains on texts held out",
      "%",
    ),
    massExplained: shown("the same, attention kept in place of similarity", "%"),
  },
  async plan(context) {
    const { answers, scale } = context;
    const batches = await policyBatches(context, {
      ...(scale === "smoke" && { items: 2 }),
      ...(answers && {
        isWanted: (dataset, id) =>
          answers.scores.some(({ task, item }) => task === dataset && item === id),
      }),
    });
    return batches.flatMap((batch) =>
      batch.texts.map((text) => textWorkUnit(context, batch, text))
    );
  },
  summarise,
};

/** The paper assumes that similar heads pick well and states no number. */
function shown(statement: string, unit = ""): Claim {
  return absoluteOf("C53", {
    statement,
    unit,
    source: "Section 3",
    paper: "assumed",
    note: "Assumed without a number, so ours is shown and not judged.",
  });
}

function textWorkUnit(
  context: ExperimentContext,
  { group, newTokens }: TextBatch,
  text: PolicyText,
): WorkUnit {
  const tokens = text.prompt.length + (text.continuation?.length ?? newTokens);
  const scores = context.answers && scoresOf(context.answers, text.id);
  return {
    key: text.id,
    work: { large: 4 * tokens, small: 2 * tokens },
    inputs: JSON.parse(JSON.stringify({ group, text, newTokens, ratios: RATIOS, scores })),
    async run(context) {
      const complete = await completeText(context, text, newTokens);
      if (complete.continuation.length < 2) return null;
      const { losses, ...rest } = await measureLosses(context, complete, {
        ratios: RATIOS,
        isAnswered: context.isDefaultPair,
      });
      const scored = Object.entries(losses).map(([ratio, loss]) => {
        const score = scores?.[ratio];
        return [ratio, score === undefined ? loss : { ...loss, score }] as const;
      });
      const loss: TextLoss = { id: text.id, ...rest, losses: Object.fromEntries(scored) };
      return JSON.parse(JSON.stringify(loss));
    },
  };
}

/** Scores of SmallKV's answers to an item by budget. */
function scoresOf({ scores }: GradedAnswers, id: string): Record<string, number> {
  const own = scores.filter(({ task, item, setting }) =>
    setting === "smallkv" && `${task}/${item}` === id
  );
  return Object.fromEntries(
    own.flatMap(({ budget, score }) => "ratio" in budget ? [[String(budget.ratio), score]] : []),
  );
}

function summarise(input: SummaryInput): ExperimentResult {
  const texts = input.units.flatMap(({ value }) => value ? [value as unknown as TextLoss] : []);
  if (texts.length < LEAST_TEXTS) {
    const notes = [
      `Needs ${LEAST_TEXTS} texts with two tokens each; the count is ${texts.length}.`,
    ];
    return { values: {}, tables: [], figures: [], notes };
  }
  const heads = (key: HeadFeature) => headPrediction(texts, { key, ratio: MAIN, seed: input.seed });
  const ofTexts = (key: TextFeature) =>
    textPrediction(texts, { keys: [key], target: "divergence", ratio: MAIN, seed: input.seed });
  const [similar, mass] = [ofTexts("similarity"), ofTexts("attention kept")];
  return {
    values: defined({
      headRank: heads("similarity").rank,
      headExplained: heads("similarity").explained,
      otherExplained: heads("same head on other texts").explained,
      textRank: similar?.rank,
      textExplained: similar?.explained,
      massExplained: mass?.explained,
    }),
    tables: [headTable(texts, input.seed), textTable(texts, input.seed)],
    figures: [textFigure(texts)],
    notes: [
      "Explained: 1 minus squared errors over those of the mean of the other texts, by a ridge regression that has not seen the text; below 0 it predicts worse than that mean.",
      "The same head on other texts: its mean there, which knows nothing of the text.",
      texts.some(({ losses }) => losses[MAIN]?.score !== undefined)
        ? "Scores are of graded answers where a folder was given, else 1 where all of the right answer would be written."
        : "No scores: no graded answers to these texts.",
    ],
  };
}

/** Numbers of a head that may predict what it keeps. */
type HeadFeature = "similarity" | "similarity without the first 4" | "same head on other texts";

/** Rank correlation and explained variance. */
interface Prediction {
  readonly rank: Measured | undefined;
  readonly explained: Measured | undefined;
}

interface HeadOptions {
  readonly key: HeadFeature;
  readonly ratio: string;
  readonly seed: number;
}

/** Attention kept of every head and text by a number of the head; texts are resampled and held out. */
function headPrediction(texts: readonly TextLoss[], { key, ratio, seed }: HeadOptions): Prediction {
  const masses = texts.map(({ losses }) => losses[ratio]!.mass);
  const features = texts.map((text, own) => {
    if (key === "similarity") return text.similarity;
    if (key === "similarity without the first 4") return text.withoutFirst;
    const others = masses.filter((_, index) => index !== own);
    return text.similarity.map((_, head) => mean(others.map((mass) => mass[head]!)));
  });
  const ranks = texts.map((_, text) => rankCorrelation(features[text]!, masses[text]!))
    .filter(Number.isFinite);
  const items = texts.flatMap(({ id, similarity }) => similarity.map(() => id));
  const rows = features.flatMap((values) => values.map((value) => [value]));
  return {
    rank: measuredMean(ranks, { seed }),
    explained: explained(rows, { targets: masses.flat(), items, seed }),
  };
}

/** Numbers of a text that may predict its loss. */
const TEXT_FEATURES = {
  "similarity": ({ similarity }: TextLoss) => mean(similarity),
  "similarity without the first 4": ({ withoutFirst }: TextLoss) => mean(withoutFirst),
  "attention kept": (_: TextLoss, { mass }: BudgetLoss) => mean(mass),
} as const;

type TextFeature = keyof typeof TEXT_FEATURES;

interface TextOptions {
  readonly keys: readonly TextFeature[];
  readonly target: "divergence" | "score";
  readonly ratio: string;
  readonly seed: number;
}

/** Loss of every text by numbers of the text; none with too few texts that have the target. */
function textPrediction(texts: readonly TextLoss[], options: TextOptions): Prediction | undefined {
  const { keys, target, ratio, seed } = options;
  const known = texts.filter(({ losses }) =>
    target === "divergence" || losses[ratio]!.score !== undefined
  );
  if (known.length < LEAST_TEXTS) return undefined;
  const losses = known.map((text) => text.losses[ratio]!);
  const rows = known.map((text, index) =>
    keys.map((key) => TEXT_FEATURES[key](text, losses[index]!))
  );
  const targets = losses.map(({ kl, score }) =>
    target === "score" ? score! : Math.log(Math.max(LEAST_KL, kl))
  );
  const correlate = (drawn: Uint32Array) =>
    rankCorrelation(
      Array.from(drawn, (text) => rows[text]![0]!),
      Array.from(drawn, (text) => targets[text]!),
    );
  const all = Uint32Array.from(known.keys());
  const hasRank = keys.length === 1 && Number.isFinite(correlate(all));
  const how = { ...seeded({ seed }), method: "percentile" as const };
  return {
    rank: hasRank ? bootstrapInterval(known.length, correlate, how) : undefined,
    explained: explained(rows, { targets, items: known.map(({ id }) => id), seed }),
  };
}

/** Share of the variance explained on items held out, in percent; undefined where the targets are all the same. */
function explained(
  rows: readonly (readonly number[])[],
  { targets, items, seed }: {
    readonly targets: readonly number[];
    readonly items: readonly string[];
    readonly seed: number;
  },
): Measured | undefined {
  const { predictions, means } = heldOutPredictions(rows, targets, { items });
  const byItem = [...Map.groupBy(items.keys(), (row) => items[row]!).values()];
  const errors = (guess: Float64Array) =>
    byItem.map((own) => own.reduce((sum, row) => sum + (targets[row]! - guess[row]!) ** 2, 0));
  const [left, all] = [errors(predictions), errors(means)];
  if (all.every((error) => error === 0)) return undefined;
  const how = { ...seeded({ seed }), method: "percentile" as const };
  const { value, low, high, n } = ratioInterval(left, all, how);
  return { value: 100 * (1 - value), low: 100 * (1 - high), high: 100 * (1 - low), n };
}

function headTable(texts: readonly TextLoss[], seed: number): ResultTable {
  const keys: readonly HeadFeature[] = [
    "similarity",
    "similarity without the first 4",
    "same head on other texts",
  ];
  const rows = RATIOS.map(String).flatMap((ratio) =>
    keys.map((key) => {
      const { rank, explained } = headPrediction(texts, { key, ratio, seed });
      return {
        "budget (%)": 100 * Number(ratio),
        "predictor": key,
        "rank correlation": rank,
        "explained on texts held out (%)": explained,
        "heads": texts[0]!.similarity.length,
        "texts": texts.length,
      };
    })
  );
  return tableOf(`${NAME}_heads`, "Attention kept of a head, by what is known of it", rows);
}

function textTable(texts: readonly TextLoss[], seed: number): ResultTable {
  const single = Object.keys(TEXT_FEATURES) as TextFeature[];
  const sets: readonly (readonly TextFeature[])[] = [...single.map((key) => [key]), single];
  const rows = RATIOS.map(String).flatMap((ratio) =>
    (["divergence", "score"] as const).flatMap((target) =>
      sets.flatMap((keys) => {
        const found = textPrediction(texts, { keys, target, ratio, seed });
        if (!found?.explained && !found?.rank) return [];
        return [{
          "budget (%)": 100 * Number(ratio),
          "loss": target === "score" ? "score" : "divergence (logarithm)",
          "predictor": keys.length === 1 ? keys[0]! : "all of them",
          "rank correlation": found.rank,
          "explained on texts held out (%)": found.explained,
          "texts": (found.explained ?? found.rank)?.n ?? texts.length,
        }];
      })
    )
  );
  return tableOf(`${NAME}_texts`, "Loss of a text, by what is known of its heads", rows);
}

function textFigure(texts: readonly TextLoss[]): Figure {
  return {
    name: `${NAME}_texts`,
    title: "Similarity of matched heads and divergence, one point for each text",
    kind: "scatter",
    xTitle: "similarity of matched rows, mean over heads",
    yTitle: "divergence from the full cache (nats a token)",
    isLog: true,
    series: RATIOS.map((ratio) => ({
      label: `${100 * ratio} %`,
      x: texts.map(({ similarity }) => round(mean(similarity))),
      y: texts.map(({ losses }) => Math.max(LEAST_KL, losses[String(ratio)]!.kl)),
    })),
    paper: [],
    contexts: texts.length,
  };
}
