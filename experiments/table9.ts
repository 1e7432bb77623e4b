/**
 * Table 9: similarity over five turns of a dialogue, heads matched once at its start.
 *
 * @module
 */

import { matchingWindow } from "../analysis/head_match.ts";
import { DataError } from "../core/check.ts";
import { absoluteOf, claimOf, MAIN_PAIR, trendOf } from "./claims.ts";
import { cutTexts, limitTokens, pairWorkUnit, tracePair } from "./contexts.ts";
import type {
  Claim,
  Experiment,
  ExperimentContext,
  ExperimentResult,
  SummaryInput,
} from "./experiment.ts";
import { lineOf, tableOf } from "./result.ts";
import {
  matchBothWays,
  measuredMean,
  measureSimilarity,
  type SimilarityCell,
} from "./similarity.ts";
import { sizesOf } from "./sizes.ts";

/** The paper's values. */
const PRINTED = [0.822, 0.812, 0.799, 0.796, 0.782];

const TURNS = PRINTED.length;

/** Shortest turn: the first one must be long enough for matching. */
const SHORTEST_TURN = 100;

/** A dialogue as tokens. */
interface Dialogue {
  readonly id: string;
  readonly tokens: readonly number[];
  /** Length after each turn. */
  readonly ends: readonly number[];
}

/** What is stored of one dialogue: similarity at each turn. */
type DialogueCell = {
  /** Heads matched at the first turn. */
  readonly fixed: readonly SimilarityCell[];
  /** Heads matched again after each turn, on the whole history (D-22). */
  readonly again: readonly SimilarityCell[];
};

/** Table 9. */
export const table9: Experiment = {
  name: "table9",
  module: import.meta.url,
  title: "Similarity over the turns of a dialogue",
  question: "Does a match made at the first turn still hold after five?",
  source: "Table 9",
  inputs: ["large", "small", "mt_bench", "microworld"],
  claims: {
    ...Object.fromEntries(PRINTED.map((_, turn) => [`turn${turn + 1}`, turnClaim(turn + 1)])),
    decline: trendOf("C55", "similarity after turn 1 minus that after turn 5"),
    remaining: claimOf("C55", {
      kind: "trend",
      paper: 0.951,
      statement: "similarity after turn 5 over that after turn 1: the decay is slow",
      expected: { above: 0.9 },
    }),
  },
  async plan(context) {
    const dialogues = context.isDefaultPair
      ? await splitPrompts(context)
      : await joinTurns(context);
    return dialogues.map((dialogue) => {
      const { id, tokens, ends } = dialogue;
      return pairWorkUnit(id, tokens, (context) => measureDialogue(context, dialogue), { ends });
    });
  },
  summarise,
};

function turnClaim(turn: number): Claim {
  return absoluteOf("C55", {
    paper: PRINTED[turn - 1]!,
    tolerance: 0.03,
    statement: `cosine after turn ${turn}, heads matched at turn 1`,
    pairs: MAIN_PAIR,
    note: "The paper names neither the pair nor the dialogues.",
  });
}

/** The embedded pair knows no dialogues: one prompt, read in five pieces. */
async function splitPrompts(context: ExperimentContext): Promise<Dialogue[]> {
  const { dialogues: count } = sizesOf(context);
  const options = { count, tokens: 400, minimum: 240 };
  const prompts = await cutTexts(context, "microworld", options);
  return prompts.map(({ id, tokens }) => {
    const step = (tokens.length - SHORTEST_TURN) / (TURNS - 1);
    const ends = Array.from(
      { length: TURNS },
      (_, turn) => Math.round(SHORTEST_TURN + turn * step),
    );
    return { id, tokens, ends };
  });
}

/** Turns of consecutive dialogues, each cut to the scale's length, joined five by five. */
async function joinTurns(context: ExperimentContext): Promise<Dialogue[]> {
  const { dialogues: count, turnTokens } = sizesOf(context);
  const begin = context.large.encode("");
  const longest = Math.min(turnTokens, Math.floor(limitTokens(context, Infinity) / TURNS) - 1);
  const dialogues: Dialogue[] = [];
  let tokens = [...begin];
  let ends: number[] = [];
  for (const { id, text, turns = [text] } of await context.texts("mt_bench", count * TURNS * 2)) {
    for (const turn of turns) {
      const own = context.large.encode(turn).slice(begin.length, begin.length + longest);
      if (own.length < SHORTEST_TURN || dialogues.length === count) continue;
      tokens.push(...own);
      ends.push(tokens.length);
      if (ends.length < TURNS) continue;
      dialogues.push({ id: `until-${id}`, tokens, ends });
      tokens = [...begin];
      ends = [];
    }
  }
  if (dialogues.length > 0) return dialogues;
  throw new DataError(
    `Cannot build dialogues: dataset "mt_bench" must have ${TURNS} turns of at least ` +
      `${SHORTEST_TURN} tokens: current number is ${ends.length}`,
  );
}

async function measureDialogue(
  context: ExperimentContext,
  dialogue: Dialogue,
): Promise<DialogueCell> {
  const { id, tokens, ends } = dialogue;
  const window = matchingWindow(ends[0]!);
  const checkpoints = [...new Set([window, ...ends])].sort((a, b) => a - b);
  const saliency = await tracePair(context, tokens, checkpoints);
  const first = matchBothWays(saliency(window));
  const cells = (matchesAt: (end: number) => typeof first) =>
    ends.map((end, turn) =>
      measureSimilarity(saliency(end), {
        id: `${id}/${turn + 1}`,
        group: `turn ${turn + 1}`,
        seed: context.seed,
        matches: matchesAt(end),
      })
    );
  return {
    fixed: cells(() => first),
    again: cells((end) => matchBothWays(saliency(end))),
  };
}

function summarise(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as DialogueCell);
  const measured = (values: readonly number[]) => measuredMean(values, { seed: input.seed })!;
  const curves = LINES.map(({ label, kind, read }) => ({
    label,
    points: PRINTED.map((_, turn) => measured(cells.map((cell) => read(cell[kind][turn]!)))),
  }));
  const turns = cells.map(({ fixed }) => fixed.map(({ all }) => all.jaccard.cosine));
  return {
    values: {
      ...Object.fromEntries(
        PRINTED.map((_, turn) => [
          `turn${turn + 1}`,
          measured(turns.map((cosines) => cosines[turn]!)),
        ]),
      ),
      decline: measured(turns.map((cosines) => cosines[0]! - cosines.at(-1)!)),
      remaining: measured(turns.map((cosines) => cosines.at(-1)! / cosines[0]!)),
    },
    tables: [
      tableOf(
        "table9_turns",
        "Similarity after each turn, mean over heads and dialogues",
        curves.flatMap(({ label, points }) =>
          points.map((cosine, turn) => ({
            "heads and tokens": label,
            "turn": turn + 1,
            "paper": PRINTED[turn]!,
            cosine,
          }))
        ),
      ),
    ],
    figures: [{
      name: "table9_turns",
      title: "Similarity over the turns of a dialogue",
      kind: "line",
      xTitle: "turn",
      yTitle: "mean cosine",
      series: curves.map(({ label, points }) =>
        lineOf(label, points.map((_, turn) => turn + 1), points)
      ),
      paper: PRINTED.map((y, turn) => ({ label: `paper, turn ${turn + 1}`, y })),
    }],
    notes: [
      input.isDefaultPair
        ? "The embedded world has no dialogues: a prompt is read in five pieces instead."
        : "Turns are MT-Bench questions with their reference answers, five in a row.",
    ],
  };
}

const LINES: readonly {
  readonly label: string;
  readonly kind: "fixed" | "again";
  readonly read: (cell: SimilarityCell) => number;
}[] = [
  { label: "matched at turn 1", kind: "fixed", read: ({ all }) => all.jaccard.cosine },
  {
    label: "matched at turn 1, without the first 4 tokens",
    kind: "fixed",
    read: ({ withoutFirst }) => withoutFirst.jaccard.cosine,
  },
  { label: "matched at every turn", kind: "again", read: ({ all }) => all.jaccard.cosine },
  { label: "matched at turn 1 by cosine", kind: "fixed", read: ({ all }) => all.cosine.cosine },
  { label: "null: random small head", kind: "fixed", read: ({ all }) => all.random.cosine },
  { label: "null: mean of all small heads", kind: "fixed", read: ({ all }) => all.mean.cosine },
];
