/**
 * Fig. 10: what each policy writes for word-sorting items, compared with what the full cache writes.
 *
 * @module
 */

import { meanInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { compareTexts } from "../analysis/quality_text.ts";
import { trendOf } from "./claims.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  ExperimentText,
  GradedPart,
  ResultTable,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { policySizes } from "./decoded/policy_texts.ts";
import { settingOf, type VariantKey, variantOf, VARIANTS } from "../evaluation/policy_variants.ts";
import { Graded, variantSetting } from "./graded/graded.ts";
import { tableOf } from "./result.ts";
import { defined, round, seeded } from "./similarity.ts";

/** What a policy wrote for one item. */
type WrittenCell = {
  readonly id: string;
  readonly text: string;
  /** Share of the full cache's text before the first difference. */
  readonly before: number;
  /** Share of equal tokens. */
  readonly agreement: number;
  readonly rougeL: number;
  readonly repeated: number;
  readonly newWords: readonly string[];
  readonly tokens: number;
};

const NAME = "fig10";
const BUDGET = 0.1;
const KEYS = [
  "full",
  "h2o",
  "pyramid",
  "smallkv",
  "queryAware",
] as const satisfies readonly VariantKey[];
/** Word sorting among BBH's 27 tasks, and among the embedded pair's 7. */
const SORTING = {
  bbh: { task: "word_sorting", tasks: 27 },
  microworld: { task: "sort", tasks: 7 },
};

const GRADED: GradedPart = {
  tasks: ["bbh", "microworld"],
  claims: {
    fullGap: trendOf("C59", "score of SmallKV minus the full cache", {
      expected: { above: -10 },
      unit: "%",
    }),
    scoreGain: trendOf("C59", "score of SmallKV minus H2O", { unit: "%" }),
    longer: trendOf("C59", "tokens of H2O's answers minus SmallKV's", { unit: "tokens" }),
  },
  summarise(answers, input) {
    const sorting = Object.values(SORTING).map(({ task }) => task);
    const groups = (group: string) => sorting.includes(group);
    const tasks = Graded.tasks(answers, ["bbh", "microworld"], { ...input, groups });
    const [main] = tasks;
    const [ours, rival] = [["smallkv", BUDGET], ["h2o", BUDGET]] as const;
    return {
      values: {
        fullGap: main?.gain(ours, ["full", 1]),
        scoreGain: main?.gain(ours, rival),
        longer: main?.longer(rival, ours),
      },
      tables: tasks.flatMap((task) => task.table("fig10_scores", KEYS.map(variantSetting))),
      figures: [],
      notes: ["Items of word sorting alone."],
    };
  },
};

/** Fig. 10. */
export const fig10: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Word sorting at 10 %",
  question: "How do the texts that each policy writes differ from the full cache's?",
  source: "Fig. 10",
  graded: GRADED,
  usesPolicies: true,
  inputs: ["large", "small", "bbh", "microworld"],
  claims: {
    agreement: trendOf("C59", "tokens of SmallKV's text that equal the full cache's", {
      expected: { above: 90 },
      unit: "%",
    }),
    agreementGain: trendOf("C59", "equal tokens, SmallKV minus H2O", { unit: "%" }),
    divergence: trendOf(
      "C59",
      "share of the full cache's text before the first difference, SmallKV minus H2O",
      { unit: "%" },
    ),
    repetition: trendOf("C59", "repeated 4-grams, H2O minus SmallKV", { unit: "%" }),
  },
  async plan(context) {
    const { promptTokens, newTokens } = policySizes(context);
    const longest = context.isDefaultPair ? Infinity : 4 * promptTokens;
    const items = (await sortingTexts(context))
      .map(({ id, text }) => ({ id, text, prompt: context.large.encode(text) }))
      .filter(({ prompt }) => prompt.length <= longest);
    if (items.length === 0) return [];
    const maxNew = context.isDefaultPair ? 24 : 2 * newTokens;
    const prompts = items.map(({ prompt }) => prompt);
    const tokens = prompts.reduce((sum, { length }) => sum + length + maxNew, 0);
    return KEYS.map((key): WorkUnit => ({
      key,
      work: { large: tokens, ...(variantOf(key).hasSmallModel && { small: tokens }) },
      inputs: JSON.parse(JSON.stringify({ prompts, maxNew, setting: settingOf(key, BUDGET) })),
      run: (context) => writeTexts(context, key, { items, maxNew }),
    }));
  },
  summarise,
};

async function sortingTexts(context: ExperimentContext): Promise<readonly ExperimentText[]> {
  const name = context.isDefaultPair ? "microworld" : "bbh";
  const { task, tasks } = SORTING[name];
  const { items } = policySizes(context);
  const texts = await context.texts(name, tasks * items);
  return texts.filter(({ group }) => group === task).slice(0, items);
}

/** An item and its tokens. */
interface SortingItem extends Pick<ExperimentText, "id" | "text"> {
  readonly prompt: readonly number[];
}

async function writeTexts(
  context: ExperimentContext,
  key: VariantKey,
  { items, maxNew }: { readonly items: readonly SortingItem[]; readonly maxNew: number },
): Promise<WrittenCell[]> {
  const prompts = items.map(({ prompt }) => prompt);
  const write = (of: VariantKey) =>
    context.generated({ prompts, setting: settingOf(of, BUDGET), maxNew });
  const reference = await write("full");
  const written = key === "full" ? reference : await write(key);
  const asText = (tokens: readonly number[]) => ({
    tokens,
    text: context.large.tokenTexts(tokens).join(""),
  });
  return written.map((tokens, index) => {
    const [right, own] = [asText(reference[index]!), asText(tokens)];
    const { id, text: prompt } = items[index]!;
    const quality = compareTexts(right, own, { prompt });
    const { firstDivergence = right.tokens.length, newWords } = quality;
    const before = Math.min(1, firstDivergence / Math.max(1, right.tokens.length));
    return {
      id,
      text: own.text,
      before: round(before),
      agreement: round(quality.tokenAgreement),
      rougeL: round(quality.rougeL),
      repeated: round(quality.repeatedShare),
      newWords,
      tokens: tokens.length,
    };
  });
}

function summarise(input: SummaryInput): ExperimentResult {
  const written = new Map(
    input.units.map(({ key, value }) => [key, value as unknown as readonly WrittenCell[]]),
  );
  const options = seeded({ seed: input.seed });
  const [ours, rival] = [written.get("smallkv") ?? [], written.get("h2o") ?? []];
  if (ours.length === 0) return { values: {}, tables: [], figures: [], notes: ["No items."] };
  const gain = (read: (cell: WrittenCell) => number) =>
    meanInterval(ours.map((cell, index) => 100 * (read(cell) - read(rival[index]!))), options);
  return {
    values: defined({
      agreement: meanInterval(ours.map((cell) => 100 * cell.agreement), options),
      agreementGain: gain(({ agreement }) => agreement),
      divergence: gain(({ before }) => before),
      repetition: gain(({ repeated }) => -repeated),
    }),
    tables: [measureTable(written), exampleTable(written)],
    figures: [],
    notes: [
      "New words are words of a text that its prompt does not have; worked examples belong to the prompt.",
    ],
  };
}

function measureTable(written: ReadonlyMap<string, readonly WrittenCell[]>): ResultTable {
  const rows = [...written].map(([key, cells]) => {
    const average = (read: (cell: WrittenCell) => number) => mean(cells.map(read));
    return {
      "policy": VARIANTS[key as VariantKey].label,
      "same start (%)": 100 * average(({ before }) => before),
      "equal tokens (%)": 100 * average(({ agreement }) => agreement),
      "ROUGE-L": average(({ rougeL }) => rougeL),
      "repeated 4-grams (%)": 100 * average(({ repeated }) => repeated),
      "new words": average(({ newWords }) => newWords.length),
      "tokens": average(({ tokens }) => tokens),
      "items": cells.length,
    };
  });
  const title = "Texts at 10 % against those of the full cache, means over items";
  return tableOf("fig10_measures", title, rows);
}

/** The first item, as every policy writes it. */
function exampleTable(written: ReadonlyMap<string, readonly WrittenCell[]>): ResultTable {
  const rows = [...written].map(([key, [first]]) => ({
    "policy": VARIANTS[key as VariantKey].label,
    "text": first!.text.trim(),
    "new words": first!.newWords.join(" "),
  }));
  return tableOf("fig10_example", "One item", rows);
}
