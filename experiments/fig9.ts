/**
 * Fig. 9: attention summed over all heads, within a model family and across families.
 *
 * @module
 */

import { cosineSimilarity } from "../analysis/similarity.ts";
import { totalSaliency } from "../analysis/null_match.ts";
import { alignWords, type WordSaliency, wordSaliency } from "../analysis/words.ts";
import { absoluteOf, MAIN_PAIR, trendOf } from "./claims.ts";
import { similarityContexts, tracePair, traceRole } from "./contexts.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  Measured,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { tableOf } from "./result.ts";
import { measuredMean, round, rounded, SINK_TOKENS } from "./similarity.ts";

/** Cosines of one comparison, with all tokens (or words) and without the first four. */
type Cosines = { readonly all: number; readonly withoutFirst: number };

/** What is stored of one context. */
type FamilyCell = {
  /** Large against small, token by token. */
  readonly tokens: Cosines;
  /** Large against uniform attention: a null model that has nothing but causality. */
  readonly uniform: Cosines;
  /** Large against small, word by word, if a third model was given. */
  readonly words: Cosines | null;
  /** Large against the third model, word by word. */
  readonly other: Cosines | null;
  /** Curves of the first context. */
  readonly curves: { readonly large: readonly number[]; readonly small: readonly number[] } | null;
};

/** Fig. 9. */
export const fig9: Experiment = {
  name: "fig9",
  module: import.meta.url,
  title: "Summed attention within and across model families",
  question: "Does attention summed over all heads agree within a family, and less across families?",
  source: "Fig. 9",
  inputs: ["large", "small", "other", "wikitext2", "microworld"],
  claims: {
    sameFamily: absoluteOf("C51", { tolerance: 0.02, pairs: MAIN_PAIR }),
    crossFamily: absoluteOf("C52", {
      tolerance: 0.05,
      pairs: MAIN_PAIR,
      note: "Comparable with Llama-3.2-1B as the third model only; compared word by word.",
    }),
    familyGap: trendOf(
      "C52",
      "cosine within the family minus cosine across families, word by word",
    ),
  },
  async plan(context) {
    const contexts = await similarityContexts(context);
    return contexts.map(({ id, tokens }, index): WorkUnit => {
      const count = tokens.length;
      const other = context.other === undefined ? {} : { other: count };
      return {
        key: id,
        work: { large: count, small: count, ...other },
        inputs: { tokens, hasCurves: index === 0 },
        run: (context) => measureContext(context, tokens, { hasCurves: index === 0 }),
      };
    });
  },
  summarise,
};

async function measureContext(
  context: ExperimentContext,
  tokens: readonly number[],
  options: { readonly hasCurves: boolean },
): Promise<FamilyCell> {
  const pair = (await tracePair(context, tokens))();
  const large = totalSaliency(pair.large);
  const small = totalSaliency(pair.small);
  const cell = {
    tokens: cosines(large, small),
    uniform: cosines(large, uniformSaliency(tokens.length)),
    words: null,
    other: null,
    curves: options.hasCurves ? { large: rounded(large), small: rounded(small) } : null,
  };
  const { other } = context;
  if (other === undefined) return cell;
  const texts = context.large.tokenTexts(tokens);
  const otherTokens = other.encode(texts.join(""));
  const third = totalSaliency((await traceRole(context, "other", otherTokens))());
  const ours = wordSaliency(large, texts);
  return {
    ...cell,
    words: wordCosines(ours, wordSaliency(small, texts)),
    other: wordCosines(ours, wordSaliency(third, other.tokenTexts(otherTokens))),
  };
}

/** Column sums if every row attended equally to all tokens that it sees: F[v] = sum over u >= v of 1 / (u + 1). */
function uniformSaliency(tokens: number): Float32Array {
  const sums = new Float32Array(tokens);
  let sum = 0;
  for (let token = tokens - 1; token >= 0; token--) sums[token] = sum += 1 / (token + 1);
  return sums;
}

function wordCosines(a: WordSaliency, b: WordSaliency): Cosines | null {
  const { words, first, second } = alignWords(a, b);
  return words.length <= SINK_TOKENS ? null : cosines(first, second);
}

function cosines(a: ArrayLike<number>, b: ArrayLike<number>): Cosines {
  const rest = (values: ArrayLike<number>) => Array.from(values).slice(SINK_TOKENS);
  return {
    all: round(cosineSimilarity(a, b)),
    withoutFirst: round(cosineSimilarity(rest(a), rest(b))),
  };
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as FamilyCell);
  const rows: Record<string, string | Measured | undefined>[] = [];
  const tabulate = (label: string, read: (cell: FamilyCell) => Cosines | null) => {
    const found = cells.map(read).filter((pair) => pair !== null);
    const [all, rest] = (["all", "withoutFirst"] as const).map((set) =>
      measuredMean(found.map((pair) => pair[set]), { seed: input.seed })
    );
    rows.push({ "compared": label, "all": all, "without the first 4": rest });
    return all;
  };
  const sameFamily = tabulate("large and small, by tokens", ({ tokens }) => tokens);
  tabulate("null: large and uniform attention, by tokens", ({ uniform }) => uniform);
  tabulate("large and small, by words", ({ words }) => words);
  const crossFamily = tabulate("large and third model, by words", ({ other }) => other);
  const familyGap = measuredMean(
    cells.flatMap(({ words, other }) => words && other ? [words.all - other.all] : []),
    { seed: input.seed },
  );
  const curves = cells.find((cell) => cell.curves !== null)?.curves;
  return {
    values: {
      ...(sameFamily && { sameFamily }),
      ...(crossFamily && isComparableThird(input) && { crossFamily }),
      ...(familyGap && { familyGap }),
    },
    tables: [
      tableOf(
        "fig9_cosines",
        "Cosine of attention summed over all heads, mean over contexts",
        rows,
      ),
    ],
    figures: curves ? [curveFigure(curves)] : [],
    notes: input.other === undefined
      ? ["No third model was given, so families were not compared: add one with --other."]
      : [`Third model: ${input.other.name}; token vectors are added up to whitespace words.`],
  };
}

/** The paper's pair is judged only with the paper's third model; other pairs are never judged. */
function isComparableThird(input: SummaryInput): boolean {
  const isPaperPair = /qwen2-7b/i.test(input.large.name);
  return !isPaperPair || /llama-?3\.2-1b/i.test(input.other?.name ?? "");
}

function curveFigure(curves: NonNullable<FamilyCell["curves"]>): Figure {
  const x = curves.large.map((_, token) => token);
  const share = (values: readonly number[]) => {
    const total = values.reduce((sum, value) => sum + value, 0);
    return values.map((value) => 100 * value / total);
  };
  return {
    name: "fig9_curves",
    title: "Attention summed over all heads",
    kind: "line",
    xTitle: "token position",
    yTitle: "share of all attention (%)",
    isLog: true,
    series: [
      { label: "large model", x, y: share(curves.large) },
      { label: "small model", x, y: share(curves.small) },
    ],
    paper: [],
    contexts: 1,
    choice: "The first context.",
  };
}
