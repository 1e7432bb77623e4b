/**
 * RULER as a graded task: eleven of its thirteen, generated at any length in tokens.
 *
 * Prompts, answer prefixes, lengths of answers and scores are the original's. Haystacks of text and
 * words come from WikiText-2 where the original takes essays and a list of words, and the two tasks of
 * questions on documents are left out, since neither SQuAD nor HotpotQA is part of the data.
 * The document is the item's prefix, so that it can also be compressed before the question is known.
 *
 * @see {@link https://arxiv.org/abs/2404.06654 | RULER}
 * @module
 */

import { checkInteger, RequirementError } from "../../core/check.ts";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { takeTurns } from "../dataset.ts";
import { type Corpus, readCorpus } from "../ruler/haystack.ts";
import { NEEDLE_TASKS } from "../ruler/needles.ts";
import { largestFit, type RulerPrompt, type RulerTask } from "../ruler/sample.ts";
import { TRACING_TASKS } from "../ruler/tracing.ts";
import { checkLimit, requireTokenizer, type Task, type TaskTokenizer } from "../task.ts";
import { readWikitext, wikitext2 } from "../wikitext2.ts";

/** Most items of each task at each length. */
const PER_GROUP = 100;
const DEFAULT_LENGTHS: readonly number[] = [1024];

/** Every task, in the original's order. */
const RULER_TASKS: readonly RulerTask[] = [...NEEDLE_TASKS, ...TRACING_TASKS];

/** Eleven tasks; the score is the mean over tasks and lengths. */
export const rulerTask: Task = {
  name: "ruler",
  title: "RULER",
  metric: "share of the answers that occur",
  options: ["lengths"],
  files: wikitext2.files,
  average: "groups",
  async items({ folder, lengths = DEFAULT_LENGTHS, seed = 0, limit = Infinity, ...options }) {
    const tokenizer = requireTokenizer("ruler", options);
    for (const length of lengths) {
      checkInteger("list items of ruler", "length", { value: length, min: 1 });
    }
    checkLimit(limit);
    const corpus = readCorpus(await readWikitext(folder));
    const groups = lengths.flatMap((length) => RULER_TASKS.map((rule) => ({ rule, length })));
    const count = Math.min(PER_GROUP, Math.ceil(limit / groups.length));
    const lists = groups.map((group) =>
      Array.from({ length: count }, (_, index) => ({ ...group, index }))
    );
    return takeTurns(lists, limit).map(({ rule, length, index }) => {
      const group = `${rule.name}/${length}`;
      const id = `${group}/${index}`;
      const draw = { seed: derivedSeed(seed, `ruler ${id}`), corpus, index, length };
      const { prompt, tokens } = fittingPrompt(rule, draw, tokenizer);
      return {
        id,
        group,
        prefix: prompt.prefix,
        turns: [prompt.question],
        isChat: false,
        compressAfter: "prompt",
        stops: [],
        maxTokens: rule.maxTokens,
        reference: prompt.answers,
        facts: {
          promptTokens: tokens,
          ...(prompt.depths !== undefined && { depths: prompt.depths }),
        },
      };
    });
  },
  grade([answer = ""], { reference }) {
    const wanted = reference as readonly string[];
    const found = occurring(answer, wanted);
    return {
      score: found.length / wanted.length,
      extracted: found.length === 0 ? null : found.join(" "),
      details: { found: found.length, wanted: wanted.length },
    };
  },
  isSettled(answer, { reference }) {
    const wanted = reference as readonly string[];
    return occurring(answer, wanted).length === wanted.length;
  },
};

/** The original's match: anywhere in the answer, whatever the case. */
function occurring(answer: string, wanted: readonly string[]): string[] {
  const text = answer.toLowerCase();
  return wanted.filter((one) => text.includes(one.toLowerCase()));
}

/** The prompt with the most filler that leaves room for its answer. */
function fittingPrompt(
  rule: RulerTask,
  { seed, ...draw }: {
    readonly seed: number;
    readonly corpus: Corpus;
    readonly index: number;
    readonly length: number;
  },
  tokenizer: TaskTokenizer,
): { prompt: RulerPrompt; tokens: number } {
  const make = (size: number) => rule.make({ ...draw, size, random: seededRandom(seed) });
  const measure = (size: number) => {
    const { prefix, question } = make(size);
    return tokenizer.encode(prefix + question).length;
  };
  const limit = draw.length - rule.maxTokens;
  const size = largestFit(measure, { limit, min: rule.minSize, max: draw.length });
  if (size !== undefined) return { prompt: make(size), tokens: measure(size) };
  throw new RequirementError({
    action: `list items of ruler/${rule.name}`,
    requirement: `the length must leave room for ${
      measure(rule.minSize)
    } tokens of the shortest prompt and ${rule.maxTokens} of its answer`,
    current: draw.length,
  });
}
