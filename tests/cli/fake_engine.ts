/**
 * Models whose attention is made up from token ids, and experiments on them.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { HeadName } from "../../decoding/session/trace.ts";
import type { Claim, Experiment, ExperimentModel } from "../../experiments/experiment.ts";
import type { Engine, OpenEngine } from "../../experiments/runner/engine.ts";

/** Settings of the fake. */
export interface FakeOptions {
  /** Time each trace takes. */
  readonly delayMs?: number;
  /** Called with the model's name before each trace. */
  readonly onTrace?: (name: string) => void;
}

/** Orders heads as a trace does, whatever order they are asked for in. */
const byPlace = (a: HeadName, b: HeadName) => a[0] - b[0] || a[1] - b[1];

/** A model of two layers with two heads and 32 tokens; the first has a window of 100 where the name says so. */
export function fakeModel(name: string, options: FakeOptions = {}): ExperimentModel {
  const layers = 2;
  const queryHeads = 2;
  const heads = layers * queryHeads;
  const vocabulary = 32;
  const weight = (head: number, id: number) => 1 + ((id * 7 + head * 3 + name.length) % 11);
  const sums = (tokens: readonly number[], length: number) =>
    Float32Array.from(
      { length: heads * length },
      (_, index) => weight(Math.floor(index / length), tokens[index % length]!),
    );
  return {
    name,
    hash: `hash-of-${name}`,
    eosTokenIds: [0],
    architecture: "qwen2",
    parametersByType: { F16: 3000, Q8_0: 1000 },
    fileTensorBytes: 100,
    tokenizerHash: "letters",
    layers,
    queryHeads,
    kvHeads: 1,
    headDim: 8,
    hidden: 16,
    mlp: 32,
    vocabulary,
    contextLength: 512,
    ...(name.startsWith("windowed") && { layerAttention: [{ window: 100 }, {}] }),
    encode: (text) => [...text].map((letter) => letter.charCodeAt(0) % vocabulary),
    tokenTexts: (tokens) => tokens.map((id) => String.fromCharCode(96 + id)),
    load: () => Promise.reject(new Error("a fake model has no weights")),
    async trace(tokens, more = {}) {
      const { heads: wanted = [], logits, checkpoints = [], signal } = more;
      options.onTrace?.(name);
      await new Promise((resolve) => setTimeout(resolve, options.delayMs ?? 0));
      signal?.throwIfAborted();
      const size = tokens.length;
      const rows = logits === "all" ? size : 1;
      return {
        layers,
        queryHeads,
        tokens: size,
        accumulated: sums(tokens, size),
        checkpoints: checkpoints.map((end) => sums(tokens, end)),
        maps: (wanted as readonly HeadName[]).toSorted(byPlace).map(([layer, head]) => ({
          layer,
          head,
          queries: size,
          keys: size,
          values: Float32Array.from(
            { length: size * size },
            (_, index) => layer * 100 + head * 10 + index / (size * size),
          ),
        })),
        logits: Float32Array.from({ length: rows * vocabulary }, (_, index) => index),
        ...(more.hidden &&
          { hidden: Float32Array.from({ length: 3 * size * 16 }, (_, index) => index) }),
        ...(more.vectors && {
          vectors: {
            keys: Float32Array.from({ length: 2 * size * 8 }, (_, index) => index),
            values: Float32Array.from({ length: 2 * size * 8 }, (_, index) => -index),
          },
        }),
      };
    },
    attentionRows: (tokens, { first }) => {
      const [rows, keys] = [tokens.length - first, tokens.length];
      return Promise.resolve(
        Float32Array.from({ length: heads * rows * keys }, (_, index) => {
          const [row, key] = [Math.floor(index / keys), index % keys];
          const isSeen = key <= first + row % rows;
          return isSeen ? weight(Math.floor(row / rows), tokens[key]!) / (6 * keys) : 0;
        }),
      );
    },
    realDrop: (tokens) => Promise.resolve(sums(tokens, tokens.length)),
  };
}

/** An engine with fake models; references that start with `missing` do not open, the data folder `none` is empty. */
export function fakeEngine(options: FakeOptions = {}): OpenEngine {
  return ({ dataFolder }) =>
    Promise.resolve<Engine>({
      environment: {
        device: "reference",
        adapter: "made up",
        isSoftware: true,
        versions: { smallkv: "0.0.0", deno: Deno.version.deno },
        system: "test",
      },
      openModel(role, reference) {
        if (reference?.startsWith("missing") === true) {
          throw new DataError(
            `Cannot open ${reference}: the file must exist: current file is missing`,
          );
        }
        return Promise.resolve(fakeModel(reference ?? `fake ${role}`, options));
      },
      texts(name, limit) {
        if (dataFolder === "none") throw new DataError(`Cannot read ${name}: none`);
        const indices = Array.from({ length: limit }, (_, index) => index);
        return Promise.resolve(
          indices.map((index) => ({
            id: `text/${index}`,
            group: "all",
            text: `text number ${index}`,
          })),
        );
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
}

const CLAIM: Claim = {
  id: "C00",
  source: "Fig. 0",
  statement: "mean of made-up numbers",
  paper: 6,
  unit: "",
  kind: "arithmetic",
  tolerance: 4,
};

/** Settings of a fake experiment. */
export interface FakeExperimentOptions {
  /** Units; 4 if left out. */
  readonly count?: number;
  /** Parts of its claim that differ. */
  readonly claim?: Partial<Claim>;
  /** Whether its units throw. */
  readonly fails?: boolean;
  /** Whether its units run the model themselves, without stored traces. */
  readonly isUntraced?: boolean;
}

/** An experiment of `count` units that run the large model on one text each. */
export function fakeExperiment(name: string, options: FakeExperimentOptions = {}): Experiment {
  return {
    name,
    module: import.meta.url,
    title: `Experiment ${name}`,
    question: `What does ${name} show?`,
    source: "Fig. 0",
    inputs: ["large", "microworld"],
    claims: { mean: { ...CLAIM, ...options.claim } },
    async plan(context) {
      const texts = await context.texts("microworld", options.count ?? 4);
      return texts.map(({ id, text }) => {
        const tokens = context.large.encode(`${name} ${text}`);
        return {
          key: id,
          work: { large: tokens.length },
          inputs: { tokens },
          async run() {
            if (options.fails === true) throw new DataError("Cannot measure: it must work");
            const { signal } = context;
            const sums = options.isUntraced === true
              ? (await context.large.trace(tokens, { signal })).accumulated
              : (await context.trace("large", tokens)).accumulated[0]!;
            return sums.reduce((sum, value) => sum + value, 0) / sums.length;
          },
        };
      });
    },
    summarise({ units }) {
      const numbers = units.map(({ value }) => value as number);
      const value = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
      return {
        values: { mean: { value, low: value - 0.5, high: value + 0.5, n: numbers.length } },
        tables: [{
          name: "units",
          title: "Units",
          columns: ["text", "mean"],
          rows: [["a", value]],
        }],
        figures: [{
          name: "means",
          title: "Means of made-up numbers",
          kind: "line",
          xTitle: "text",
          yTitle: "mean",
          series: [{
            label: "ours",
            x: numbers.map((_, index) => index),
            y: numbers,
            low: numbers.map((number) => number - 0.1),
            high: numbers.map((number) => number + 0.1),
          }],
          paper: [{ label: "paper", y: 6 }],
        }],
        notes: ["Everything here is made up."],
      };
    },
  };
}
