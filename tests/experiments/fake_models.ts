/**
 * Models with made-up causal attention, and a context around them, for testing experiments without
 * weights.
 *
 * @module
 */

import { accumulateAttention, type AttentionMap } from "../../analysis/attention_map.ts";
import { accumulateAfterDrop } from "../../analysis/saliency_shift.ts";
import { derivedSeed, pick, seededRandom } from "../../core/random.ts";
import type {
  DatasetName,
  ExperimentContext,
  ExperimentModel,
  ExperimentText,
  ModelShape,
  RealDropOptions,
  Scale,
  Trace,
} from "../../experiments/experiment.ts";
import { fakePolicies } from "./fake_policies.ts";

/** What a fake model is made from. */
export interface FakeOptions {
  /** Layers. */
  readonly layers: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** KV heads per layer; as many as query heads if left out. */
  readonly kvHeads?: number;
  /** Models with equal seeds and shapes attend to the same tokens. */
  readonly seed: number;
  /** Characters per token: 0 for whole words. */
  readonly tokenLength?: number;
  /** Whether traces hold only the causal profile, for counting tokens quickly. */
  readonly isCheap?: boolean;
}

/** A fake model that counts the tokens pushed through it. */
export interface FakeModel extends ExperimentModel {
  /** Tokens traced or continued so far. */
  readonly work: { tokens: number };
  /** Attention of one head, ignoring hidden states. */
  map(tokens: readonly number[], head: number): AttentionMap;
}

/** Makes a model. */
export function fakeModel(name: string, options: FakeOptions): FakeModel {
  const { layers, queryHeads, kvHeads = queryHeads, tokenLength = 0 } = options;
  const texts = new Map<number, string>();
  const work = { tokens: 0 };
  const heads = layers * queryHeads;
  const shape: ModelShape = {
    layers,
    queryHeads,
    kvHeads,
    headDim: 8,
    hidden: 8 * queryHeads,
    mlp: 32,
    vocabulary: 1 << 20,
    contextLength: 4096,
    fileTensorBytes: 1000 * layers,
  };
  const map = (tokens: readonly number[], head: number) => fakeMap(tokens, options, head);
  return {
    ...shape,
    name,
    hash: `${name} ${options.seed}`,
    architecture: "qwen2",
    parametersByType: { F16: 3000, Q8_0: 1000 },
    eosTokenIds: [0],
    work,
    map,
    encode: (text) => split(text, tokenLength).map((piece) => remember(texts, piece)),
    tokenTexts: (tokens) => tokens.map((id) => texts.get(id) ?? `w${id} `),
    load: () => Promise.reject(new Error("a fake model has no weights")),
    trace(tokens, { checkpoints = [] } = {}) {
      work.tokens += tokens.length;
      const sums = fakeSums(tokens, {
        ...options,
        heads,
        lengths: [...checkpoints, tokens.length],
      });
      return Promise.resolve({
        layers,
        queryHeads,
        tokens: tokens.length,
        accumulated: sums.at(-1)!,
        checkpoints: sums.slice(0, -1),
        maps: [],
        logits: new Float32Array(0),
      });
    },
    attentionRows(tokens, { first }) {
      work.tokens += tokens.length;
      const rows = Array.from({ length: heads }, (_, head) => [
        ...map(tokens, head).values.subarray(first * tokens.length),
      ]);
      return Promise.resolve(Float32Array.from(rows.flat()));
    },
    realDrop(tokens, dropOptions) {
      work.tokens += tokens.length - dropOptions.firstTokens;
      return Promise.resolve(fakeDrop(tokens, { ...dropOptions, heads, options }));
    },
  };
}

/** Makes a context of two or three models with random words as texts. */
export function fakeContext(
  models: { large: FakeModel; small: FakeModel; other?: FakeModel },
  options: { readonly scale?: Scale; readonly isDefaultPair?: boolean; readonly words?: number } =
    {},
): ExperimentContext {
  const { scale = "smoke", isDefaultPair = false, words = 420 } = options;
  const traces = new Map<string, Promise<Trace>>();
  return {
    ...models,
    isDefaultPair,
    scale,
    seed: 7,
    signal: new AbortController().signal,
    texts: (name, limit) =>
      Promise.resolve(fakeTexts(name, { limit: Math.min(limit, 300), words })),
    trace(role, tokens, { checkpoints = [] } = {}) {
      const key = JSON.stringify([role, tokens, checkpoints]);
      const known = traces.get(key) ?? traceAt(models[role]!, tokens, checkpoints);
      traces.set(key, known);
      return known;
    },
    ...fakePolicies(models.large),
  };
}

function fakeTexts(
  name: DatasetName,
  options: { readonly limit: number; readonly words: number },
): ExperimentText[] {
  return Array.from({ length: options.limit }, (_, index) => {
    const random = seededRandom(derivedSeed(index, name));
    const words = (count: number) =>
      Array.from({ length: count }, () => pick(random, ["sun", "moon", "river", "stone", "a"]))
        .join(" ");
    const turns = [words(130), words(130)];
    const isDialogue = name === "mt_bench";
    return {
      id: `${name}-${index}`,
      group: `group-${index % 3}`,
      text: isDialogue ? turns.join("") : words(options.words),
      ...(isDialogue ? { turns } : {}),
    };
  });
}

function split(text: string, length: number): string[] {
  if (length === 0) return text.match(/\s*\S+/gu) ?? [];
  return text.match(new RegExp(`.{1,${length}}`, "gsu")) ?? [];
}

function remember(texts: Map<number, string>, piece: string): number {
  const id = derivedSeed(1, piece) >>> 12;
  texts.set(id, piece);
  return id;
}

/** Attention by token and distance; every head has its own preferences, and the first token is a sink. */
function fakeMap(tokens: readonly number[], options: FakeOptions, head: number): AttentionMap {
  const count = tokens.length;
  const random = seededRandom(derivedSeed(options.seed, `head ${head}`));
  const [decay, sink, phase] = [random() / 40, 3 * random(), 10 * random()];
  const values = new Float32Array(count * count);
  for (let query = 0; query < count; query++) {
    let mass = 0;
    for (let key = 0; key <= query; key++) {
      const taste = 2 * Math.sin(phase + tokens[key]! % 97 + key / 7);
      const score = taste - decay * (query - key) + (key === 0 ? sink : 0);
      mass += values[query * count + key] = Math.exp(score);
    }
    for (let key = 0; key <= query; key++) values[query * count + key]! /= mass;
  }
  return {
    layer: Math.floor(head / options.queryHeads),
    head: head % options.queryHeads,
    queries: count,
    keys: count,
    values,
  };
}

async function traceAt(
  model: FakeModel,
  tokens: readonly number[],
  inner: readonly number[],
): Promise<Trace> {
  const checkpoints = [...new Set([...inner, tokens.length])];
  const { checkpoints: accumulated } = await model.trace(tokens, { checkpoints });
  return { heads: model.layers * model.queryHeads, checkpoints, accumulated };
}

function fakeSums(
  tokens: readonly number[],
  options: FakeOptions & { readonly heads: number; readonly lengths: readonly number[] },
): Float32Array[] {
  return options.lengths.map((length) => {
    const sums = new Float32Array(options.heads * length);
    if (options.isCheap) return sums.map((_, index) => 1 + index % length % 13 + index % 5);
    for (let head = 0; head < options.heads; head++) {
      sums.set(accumulateAttention(fakeMap(tokens.slice(0, length), options, head)), head * length);
    }
    return sums;
  });
}

function fakeDrop(
  tokens: readonly number[],
  given: RealDropOptions & { readonly heads: number; readonly options: FakeOptions },
): Float32Array {
  const { firstTokens, kept, heads, options } = given;
  const sums = new Float32Array(heads * tokens.length);
  if (options.isCheap) return sums.fill(1);
  for (let head = 0; head < heads; head++) {
    const map = fakeMap(tokens, options, head);
    const first = accumulateAttention(fakeMap(tokens.slice(0, firstTokens), options, head));
    const dropped = accumulateAfterDrop(map, { firstTokens, kept: kept[head]! });
    sums.set(
      dropped.map((value, key) => value < 0 ? 0 : value - (first[key] ?? 0)),
      head * tokens.length,
    );
  }
  return sums;
}

/** A context with at most 900 texts of a name, all different, long enough for prompts and of several groups. */
export function withManyTexts(context: ExperimentContext): ExperimentContext {
  return {
    ...context,
    async texts(name, limit) {
      const known = await context.texts(name, 300);
      return Array.from({ length: Math.min(limit, 900) }, (_, index): ExperimentText => ({
        ...known[index % known.length]!,
        id: `${name}/${index}`,
        group: name === "microworld" ? `task ${index % 7}` : name,
        text: `number ${index} ${known[index % known.length]!.text}`,
        ...(name === "microworld" && { answer: " sun moon river stone." }),
      }));
    },
  };
}
