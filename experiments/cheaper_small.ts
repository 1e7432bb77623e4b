/**
 * Small models that are made cheaper: maps fitted over the first layers alone, caches of fewer bits, and a model with a
 * tokenizer of its own.
 *
 * @module
 */

import type { CacheBits } from "../cache/full_cache.ts";
import { bootstrapInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import { ownClaim } from "./claims.ts";
import { policyBatches, type PolicyText, type TextBatch } from "./decoded/policy_texts.ts";
import { shareOfAttention } from "./decoded/selection_scores.ts";
import { type TextMemory, textMemory } from "./decoded/total_memory.ts";
import type {
  Claim,
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  Measured,
  ModelShape,
  PolicySetting,
  ResultTable,
  Scale,
  SeenRun,
  SummaryInput,
  WorkUnit,
} from "./experiment.ts";
import { lineOf, percent, tableOf } from "./result.ts";
import { defined, measuredMean, rounded, seeded } from "./similarity.ts";

const NAME = "cheaper_small";
const RATIOS = [0.05, 0.1];
/** Layers that run, as shares of the small model's; 4, 8, 12 and 24 of Qwen2.5-0.5B's. */
const SHARES = [1 / 6, 1 / 3, 1 / 2, 1];
/** The same of a small model with tokens of its own. */
const OWN_SHARES = [1 / 3, 1];
/** Bits of a number in the small model's cache beside 16, with all of its layers (D-36). */
const FEWER_BITS = [8, "8/4", 4] as const;
/** Those that claims are about. */
const CLAIMED_BITS = 4;
/** Share of the layers that claims are about. */
const CLAIMED_SHARE = 1 / 3;

/** Prompts of each task or dataset of another pair than the embedded one. */
interface Sizes {
  readonly items: number;
  readonly least: number;
  readonly most: number;
}

const SIZES: Readonly<Record<Scale, Sizes>> = {
  smoke: { items: 1, least: 200, most: 260 },
  small: { items: 2, least: 200, most: 260 },
  paper: { items: 32, least: 360, most: 822 },
};
/** Forced tokens; the first of them is predicted by the prompt. */
const NEW_TOKENS = 17;

/** What guides the large model. */
type Guide = {
  /** Name in tables. */
  readonly name: string;
  readonly role: "small" | "other";
  /** Layers that run. */
  readonly layers: number;
  /** Bits of a number in its cache. */
  readonly bits: CacheBits;
  readonly isFitted: boolean;
};

/** A guide at a budget on one text; arrays leave out the token that the prompt predicts. */
type GuideCell = Guide & {
  readonly ratio: number;
  readonly kl: readonly number[];
  readonly same: readonly number[];
  /** Share of true attention on tokens that are kept with key and value. */
  readonly attention: number;
  readonly memory: TextMemory;
};

/** One text under all guides. */
type GuideText = { readonly group: string; readonly cells: readonly GuideCell[] };

const MATCHED = "matched row, all layers";

const CLAIMS: Readonly<Record<string, Claim>> = {
  ...Object.fromEntries(RATIOS.flatMap((ratio) => {
    const at = `${100 * ratio} % of entries`;
    const [part, own] = [`a third, ${at}`, `all its layers, ${at}`];
    return [
      [`third${100 * ratio}`, ownClaim("O08", { at: part, expected: { below: 1.25 } })],
      [`own${100 * ratio}`, ownClaim("O09", { at: own, expected: { below: 1.25 } })],
      [`bits${100 * ratio}`, ownClaim("O10", { at, expected: { below: 1.25 } })],
    ];
  })),
};

/** Cheaper small models. */
export const cheaperSmall: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Cheaper small models",
  question:
    "What does a small model save that stops early, rounds its cache or has another tokenizer, and what is lost?",
  source: "no counterpart",
  usesPolicies: true,
  inputs: ["large", "small", "other", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: CLAIMS,
  async plan(context) {
    const { items, ...lengths } = SIZES[context.scale];
    const options = { items, newTokens: NEW_TOKENS, lengths };
    const batches = await policyBatches(context, options);
    const most = Math.max(0, ...batches.map(({ texts }) => texts.length));
    // Groups alternate, so that a stopped run has seen all of them.
    return Array.from({ length: most }, (_, index) =>
      batches.flatMap((batch) => {
        const text = batch.texts[index];
        return text ? [textWorkUnit(context, batch, text)] : [];
      })).flat();
  },
  summarise,
};

/** The guides that a context has models for. */
function guidesOf({ small, other }: Pick<ExperimentContext, "small" | "other">): Guide[] {
  const fitted = (role: Guide["role"], { layers }: ModelShape, shares: readonly number[]) =>
    [...new Set(shares.map((share) => Math.max(1, Math.round(share * layers))))].map((count) => ({
      name: `fitted map, ${role === "other" ? "own tokens, " : ""}${count} of ${layers} layers`,
      role,
      layers: count,
      bits: 16 as const,
      isFitted: true,
    }));
  const matched = { name: MATCHED, role: "small", layers: small.layers, bits: 16 } as const;
  const maps = fitted("small", small, SHARES);
  const rounded = (guide: Guide, bits: CacheBits) => ({
    ...guide,
    name: `${guide.name}, ${bits}-bit cache`,
    bits,
  });
  const plain: Guide = { ...matched, isFitted: false };
  return [
    plain,
    ...FEWER_BITS.map((bits) => rounded(plain, bits)),
    ...maps,
    rounded(maps.at(-1)!, CLAIMED_BITS),
    ...other ? fitted("other", other, OWN_SHARES) : [],
  ];
}

function settingOf({ isFitted, layers, bits }: Guide, ratio: number): PolicySetting {
  return {
    policy: "smallkv_query_aware",
    options: { score: "row" },
    budget: { ratio },
    ...(isFitted && { matchBy: "fitted", smallLayers: layers }),
    ...(bits !== 16 && { smallCacheBits: bits }),
  };
}

function textWorkUnit(
  context: Pick<ExperimentContext, "small" | "other">,
  { group, newTokens }: TextBatch,
  text: PolicyText,
): WorkUnit {
  const guides = guidesOf(context);
  const steps = text.continuation?.length ?? newTokens;
  const tokens = text.prompt.length;
  return {
    key: text.id,
    work: { large: 3 * tokens + 2 * steps * guides.length, small: tokens * guides.length },
    inputs: JSON.parse(JSON.stringify({ group, text, newTokens, guides, ratios: RATIOS })),
    async run(context) {
      const cells = await measureText(context, { text, newTokens, guides });
      return JSON.parse(JSON.stringify(cells && { group, cells }));
    },
  };
}

/** Decodes a text under all guides; null where the full cache ends it at once. */
async function measureText(
  context: ExperimentContext,
  { text, newTokens, guides }: {
    readonly text: PolicyText;
    readonly newTokens: number;
    readonly guides: readonly Guide[];
  },
): Promise<GuideCell[] | null> {
  const { large, signal } = context;
  const { prompt } = text;
  const points = guides.flatMap((guide) => RATIOS.map((ratio) => ({ guide, ratio })));
  let { continuation } = text;
  const found: { readonly guide: Guide; readonly ratio: number; readonly seen: SeenRun }[] = [];
  for (const role of ["small", "other"] as const) {
    const own = points.filter(({ guide }) => guide.role === role);
    if (own.length === 0) continue;
    const runs = await context.selections({
      ...{ prompt, newTokens, smallModel: role },
      ...(continuation && { continuation }),
      settings: own.map(({ guide, ratio }) => settingOf(guide, ratio)),
    });
    continuation ??= runs[0]!.run.reference;
    if (continuation.length < 2) return null;
    own.forEach((point, index) => found.push({ ...point, seen: runs[index]! }));
  }
  const steps = continuation!.length - 1;
  const tokens = [...prompt, ...continuation!.slice(0, steps)];
  const rows = await large.attentionRows(tokens, { first: prompt.length, signal });
  const row = (head: number, step: number) =>
    rows.subarray((head * steps + step) * tokens.length, (head * steps + step + 1) * tokens.length);
  const shape = {
    heads: large.layers * large.queryHeads,
    groupSize: large.queryHeads / large.kvHeads,
    promptTokens: prompt.length,
    steps,
  };
  return found.map(({ guide, ratio, seen: { run, selections } }) => {
    const kept = selections.map((groups) => groups.map(({ full }) => full));
    return {
      ...guide,
      ratio,
      kl: rounded(run.kl.slice(1)),
      same: run.chosen.slice(1).map((token, step) => token === run.reference[step + 1] ? 1 : 0),
      attention: shareOfAttention(kept, shape, row).all,
      memory: textMemory(run, {
        promptTokens: prompt.length,
        setting: settingOf(guide, ratio),
        large,
        small: context[guide.role]!,
      }),
    };
  });
}

function summarise(input: SummaryInput): ExperimentResult {
  const texts = input.units.flatMap(({ value }) => value ? [value as unknown as GuideText] : []);
  if (texts.length === 0) return { values: {}, tables: [], figures: [], notes: ["No steps."] };
  return {
    values: valuesOf(texts, input),
    tables: [guideTable(texts, input)],
    figures: [guideFigure(texts, input)],
    notes: [
      "Bytes are shares of the large model's full cache at the end of the text, in 16 bits: keys and values that a step sees at most, and the small model's cache, in 16 bits unless another number is named.",
      "Weights: bytes of the small model's file; a step reads those of the layers that run, of the last one only the projections to queries, keys and values, and an embedding row.",
      "Attention is the full cache's own, on tokens kept with key and value, mean over heads and steps. Marginal tokens get the small model's attention.",
      "A small model with tokens of its own reads the same text; its attention is mapped by bytes (D-35).",
    ],
  };
}

/** Cells of a guide at a budget, one per text. */
function cellsOf(
  texts: readonly GuideText[],
  isWanted: (cell: GuideCell) => boolean,
  ratio: number,
): GuideCell[] {
  return texts.flatMap(({ cells }) => cells.filter((one) => one.ratio === ratio && isWanted(one)));
}

function valuesOf(
  texts: readonly GuideText[],
  { seed, small, other }: SummaryInput,
): Record<string, Measured> {
  const quotient = (first: readonly GuideCell[], second: readonly GuideCell[]) => {
    if (first.length === 0 || first.length !== second.length) return undefined;
    const sum = (cells: readonly GuideCell[], drawn: Uint32Array) =>
      drawn.reduce((total, text) => total + mean(cells[text]!.kl), 0);
    const statistic = (drawn: Uint32Array) =>
      sum(first, drawn) / Math.max(1e-9, sum(second, drawn));
    return bootstrapInterval(first.length, statistic, seeded({ seed }));
  };
  const fitted = (role: Guide["role"], layers: number) => (cell: GuideCell) =>
    cell.isFitted && cell.role === role && cell.layers === layers && cell.bits === 16;
  const matched = (bits: CacheBits) => (cell: GuideCell) => !cell.isFitted && cell.bits === bits;
  const third = Math.max(1, Math.round(CLAIMED_SHARE * small.layers));
  return defined(Object.fromEntries(RATIOS.flatMap((ratio) => {
    const of = (isWanted: (cell: GuideCell) => boolean) => cellsOf(texts, isWanted, ratio);
    const own = other ? of(fitted("other", other.layers)) : [];
    return [
      [
        `third${100 * ratio}`,
        quotient(of(fitted("small", third)), of(fitted("small", small.layers))),
      ],
      [`own${100 * ratio}`, quotient(own, of(matched(16)))],
      [`bits${100 * ratio}`, quotient(of(matched(CLAIMED_BITS)), of(matched(16)))],
    ];
  })));
}

/** Names of the guides, in the order in which they were run. */
function namesOf([first]: readonly GuideText[]): string[] {
  return [...new Set(first!.cells.map(({ name }) => name))];
}

function guideTable(texts: readonly GuideText[], input: SummaryInput): ResultTable {
  const measured = (values: readonly number[]) => measuredMean(values, { seed: input.seed });
  const rows = RATIOS.flatMap((ratio) =>
    namesOf(texts).map((name) => {
      const cells = cellsOf(texts, (cell) => cell.name === name, ratio);
      const share = (read: (memory: TextMemory) => number) =>
        100 * mean(cells.map(({ memory }) => read(memory) / memory.full));
      return {
        "budget (%)": 100 * ratio,
        "small model": name,
        "KL mean (nats)": measured(cells.map(({ kl }) => mean(kl))),
        "same choice (%)": percent(measured(cells.map(({ same }) => mean(same)))),
        "attention kept (%)": percent(measured(cells.map(({ attention }) => attention))),
        "kept (%)": share(({ kept }) => kept),
        "small model's cache (%)": share(({ small }) => small),
        "weights (MiB)": cells[0]!.memory.smallWeights / 2 ** 20,
        "products per token (M)": stepProducts(input[cells[0]!.role]!, cells[0]!.layers) / 1e6,
      };
    })
  );
  return tableOf(NAME, "Divergence, attention and costs by small model", rows);
}

/** Products of a weight and an activation in a step of a small model whose last layer ends with its attention rows. */
function stepProducts(
  { hidden, mlp, queryHeads, kvHeads, headDim }: ModelShape,
  layers: number,
): number {
  const [query, key] = [queryHeads * headDim, kvHeads * headDim];
  const projections = hidden * (query + 2 * key);
  return layers * projections + (layers - 1) * (query * hidden + 3 * hidden * mlp);
}

function guideFigure(texts: readonly GuideText[], input: SummaryInput): Figure {
  const kinds: readonly (readonly [string, (cell: GuideCell) => boolean])[] = [
    ["fitted maps", ({ isFitted, role, bits }) => isFitted && role === "small" && bits === 16],
    ["fitted maps, own tokens", ({ role }) => role === "other"],
    ["matched rows, 16 to 4 bits", ({ isFitted }) => !isFitted],
  ];
  const series = RATIOS.flatMap((ratio) =>
    kinds.flatMap(([kind, isWanted]) => {
      const guides = namesOf(texts).map((name) =>
        cellsOf(texts, (cell) => cell.name === name && isWanted(cell), ratio)
      ).filter(({ length }) => length > 0);
      if (guides.length === 0) return [];
      const x = guides.map((cells) =>
        100 * mean(cells.map(({ memory }) => memory.small / memory.full))
      );
      const y = guides.map((cells) =>
        measuredMean(cells.map(({ kl }) => mean(kl)), { seed: input.seed })!
      );
      return [lineOf(`${kind}, ${100 * ratio} %`, x, y)];
    })
  );
  return {
    name: "kl_by_small_cache",
    title: "Divergence by the small model's cache",
    kind: "line",
    xTitle: "small model's cache (% of the large one's)",
    yTitle: "divergence from the full cache (nats a token)",
    isLog: true,
    series,
    paper: [],
  };
}
