/**
 * How much text matching needs, what the first tokens do to the similarity, and what a match is worth
 * on another text.
 *
 * @module
 */

import { absoluteOf, claimOf, MAIN_PAIR, trendOf } from "./claims.ts";
import {
  blockCheckpoints,
  pairWorkUnit,
  shiftBlocks,
  similarityContexts,
  tracePair,
  WINDOW_TOKENS,
} from "./contexts.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  ResultTable,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { lineOf, tableOf } from "./result.ts";
import { defined, matchBothWays, measuredMean, measureSimilarity, round } from "./similarity.ts";

/** A match made on a window, judged on the window and on the whole block. */
type WindowCell = {
  /** Tokens the match was made on. */
  readonly window: number;
  /** Mean cosine on the window itself. */
  readonly onWindow: number;
  /** Mean cosine on the whole block. */
  readonly onBlock: number;
  /** The same without the first four tokens. */
  readonly onBlockWithoutFirst: number;
  /** Mean cosine with random small heads on the whole block. */
  readonly random: number;
  /** Mean cosine with the mean small head on the whole block. */
  readonly mean: number;
  /** Percent of heads with the same match as on 200 tokens. */
  readonly agreement: number;
};

/** A match made on another context. */
type TransferCell = {
  /** Mean cosine with the match made here. */
  readonly own: number;
  /** Mean cosine with the match made on the context before. */
  readonly transferred: number;
  /** The two without the first four tokens. */
  readonly ownWithoutFirst: number;
  /** As above. */
  readonly transferredWithoutFirst: number;
  /** Mean cosine with random small heads. */
  readonly random: number;
  /** Percent of heads with the same match on both contexts. */
  readonly agreement: number;
};

/** What a unit stores. */
type StoredCell =
  | { readonly kind: "windows"; readonly windows: readonly WindowCell[] }
  | { readonly kind: "transfer"; readonly transfer: TransferCell };

/** Matching window, sinks, and transfer of matches. */
export const matchingWindowStudy: Experiment = {
  name: "matching_window",
  module: import.meta.url,
  title: "Length of the matching window",
  question: "Is a match made on 100 to 200 tokens as good as one made on more, or on another text?",
  source: "text on matching, Table 7",
  inputs: ["large", "small", "wikitext2", "microworld"],
  claims: {
    windowChange: claimOf("C57", {
      kind: "trend",
      statement: "cosine on the whole block, matched on 200 tokens minus matched on 100",
      expected: { above: -0.02, below: 0.02 },
    }),
    longerWindowGain: claimOf("C57", {
      kind: "trend",
      statement: "cosine on the whole block, matched on all of it minus matched on 200 tokens",
      expected: { below: 0.02 },
    }),
    withSinks: absoluteOf("C58", { tolerance: 0.02, pairs: MAIN_PAIR }),
    sinkGain: trendOf("C58", "cosine with all tokens minus cosine without the first 4"),
  },
  async plan(context) {
    return [...await planWindows(context), ...await planTransfers(context)];
  },
  summarise,
};

async function planWindows(context: ExperimentContext): Promise<WorkUnit[]> {
  return (await shiftBlocks(context)).map(({ id, tokens }) =>
    pairWorkUnit(`windows/${id}`, tokens, (context) => measureWindows(context, id, tokens))
  );
}

async function planTransfers(context: ExperimentContext): Promise<WorkUnit[]> {
  const contexts = await similarityContexts(context);
  if (contexts.length < 2) return [];
  return contexts.map(({ id, tokens }, index) => {
    const before = contexts.at(index - 1)!.tokens;
    const run = (context: ExperimentContext) => measureTransfer(context, id, { tokens, before });
    return pairWorkUnit(`transfer/${id}`, tokens, run, { before });
  });
}

async function measureWindows(
  context: ExperimentContext,
  id: string,
  tokens: readonly number[],
): Promise<StoredCell> {
  const checkpoints = blockCheckpoints(tokens.length);
  const saliency = await tracePair(context, tokens, checkpoints);
  const whole = saliency();
  const usual = matchBothWays(saliency(Math.min(WINDOW_TOKENS, tokens.length))).jaccard;
  const windows = checkpoints.map((window): WindowCell => {
    const options = { id, group: "", seed: context.seed };
    const matches = matchBothWays(saliency(window));
    const here = measureSimilarity(saliency(window), { ...options, matches });
    const there = measureSimilarity(whole, { ...options, matches });
    return {
      window,
      onWindow: here.all.jaccard.cosine,
      onBlock: there.all.jaccard.cosine,
      onBlockWithoutFirst: there.withoutFirst.jaccard.cosine,
      random: there.all.random.cosine,
      mean: there.all.mean.cosine,
      agreement: agreement(matches.jaccard, usual),
    };
  });
  return { kind: "windows", windows };
}

async function measureTransfer(
  context: ExperimentContext,
  id: string,
  { tokens, before }: Readonly<Record<"tokens" | "before", readonly number[]>>,
): Promise<StoredCell> {
  const here = (await tracePair(context, tokens))();
  const there = (await tracePair(context, before))();
  const own = matchBothWays(here);
  const foreign = matchBothWays(there);
  const measure = (matches: typeof own) =>
    measureSimilarity(here, { id, group: "", seed: context.seed, matches });
  const ours = measure(own);
  const theirs = measure(foreign);
  return {
    kind: "transfer",
    transfer: {
      own: ours.all.jaccard.cosine,
      transferred: theirs.all.jaccard.cosine,
      ownWithoutFirst: ours.withoutFirst.jaccard.cosine,
      transferredWithoutFirst: theirs.withoutFirst.jaccard.cosine,
      random: ours.all.random.cosine,
      agreement: agreement(own.jaccard, foreign.jaccard),
    },
  };
}

function agreement(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const same = Array.from(a).filter((head, index) => head === b[index]).length;
  return round(100 * same / a.length);
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as StoredCell);
  const blocks = cells.flatMap((cell) => cell.kind === "windows" ? [cell.windows] : []);
  const transfers = cells.flatMap((cell) => cell.kind === "transfer" ? [cell.transfer] : []);
  const average = (values: readonly number[]) => measuredMean(values, { seed: input.seed });
  const at = (window: number, read: (cell: WindowCell) => number) =>
    blocks.map((windows) =>
      read(windows.find((cell) => cell.window === window) ?? windows.at(-1)!)
    );
  const onBlock = (window: number) => at(window, (cell) => cell.onBlock);
  const minus = (a: readonly number[], b: readonly number[]) =>
    a.map((value, index) => value - b[index]!);
  const usual = onBlock(WINDOW_TOKENS);
  const withoutFirst = at(WINDOW_TOKENS, (cell) => cell.onBlockWithoutFirst);
  return {
    values: defined({
      windowChange: average(minus(usual, onBlock(100))),
      longerWindowGain: average(minus(onBlock(Infinity), usual)),
      withSinks: average(usual),
      sinkGain: average(minus(usual, withoutFirst)),
    }),
    tables: [windowTable(blocks, average), transferTable(transfers, average)],
    figures: [windowFigure(blocks, average)],
    notes: [
      "The allowed change of 0.02 is ours: the paper calls matching on 100 to 200 tokens stable " +
      "without a number.",
    ],
  };
}

type Average = (values: readonly number[]) => ReturnType<typeof measuredMean>;

const WINDOW_COLUMNS: readonly (readonly [string, keyof WindowCell])[] = [
  ["cosine on the window", "onWindow"],
  ["cosine on the block", "onBlock"],
  ["without the first 4", "onBlockWithoutFirst"],
  ["null: random head", "random"],
  ["null: mean head", "mean"],
  ["same match as on 200 tokens (%)", "agreement"],
];

function windowTable(blocks: readonly (readonly WindowCell[])[], average: Average): ResultTable {
  const rows = (blocks[0] ?? []).map(({ window }, index) => ({
    "matched on (tokens)": window,
    ...Object.fromEntries(WINDOW_COLUMNS.map(([title, key]) => {
      const values = blocks.map((windows) => windows[index]![key]);
      return [title, average(values)!.value];
    })),
  }));
  const title = "Matches made on the first tokens of a block, mean over heads and blocks";
  return tableOf("matching_window", title, rows);
}

function transferTable(transfers: readonly TransferCell[], average: Average): ResultTable {
  const row = (label: string, read: (cell: TransferCell) => number) => ({
    "quantity": label,
    "mean": average(transfers.map(read)),
  });
  return tableOf(
    "matching_transfer",
    "A match made on another text, mean over heads and contexts",
    [
      row("cosine, matched here", ({ own }) => own),
      row("cosine, matched on another text", ({ transferred }) => transferred),
      row("loss", ({ own, transferred }) => own - transferred),
      row(
        "loss without the first 4",
        (cell) => cell.ownWithoutFirst - cell.transferredWithoutFirst,
      ),
      row("cosine, random small head", ({ random }) => random),
      row("same match on both texts (%)", (cell) => cell.agreement),
    ],
  );
}

function windowFigure(blocks: readonly (readonly WindowCell[])[], average: Average): Figure {
  const x = (blocks[0] ?? []).map(({ window }) => window);
  return {
    name: "matching_window",
    title: "Similarity by the number of tokens that heads were matched on",
    kind: "line",
    xTitle: "tokens matched on",
    yTitle: "mean cosine",
    series: WINDOW_COLUMNS.slice(0, 5).map(([label, key]) => {
      const measured = x.map((_, index) => average(blocks.map((windows) => windows[index]![key]))!);
      return lineOf(label, x, measured);
    }),
    paper: [{ label: "paper matches on 100 to 200 tokens", x: 200 }],
  };
}
