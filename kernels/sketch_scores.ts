/**
 * Scores of all tokens by the sketches of their keys: contract, variants and twin.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import type { AttentionRule } from "./attention_shape.ts";
import { broadcastOf, layoutOf } from "./attention_tile.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import {
  checkSketch,
  codePlace,
  type SketchBits,
  type SketchSize,
  sketchWords,
} from "./key_sketch.ts";
import type { AdapterFeatures } from "./shapes.ts";
import wgsl from "./sketch_scores.wgsl" with { type: "text" };
import { writeOut } from "./write_out.ts";

/** Most query heads whose scores a lane adds up at once. */
const MOST_HEADS = 8;
/** Tokens of an item of the CPU device. */
const CHUNK_TOKENS = 256;
/** Lanes of a workgroup that shares queries through its memory. */
const MEMORY_LANES = 64;
/** Stands for minus infinity. */
const LOWEST = -3.4e38;

/** What the text depends on. */
export interface SketchScoresVariant {
  /** Bits of an element. */
  readonly bits: SketchBits;
  /** Words of a token's codes. */
  readonly words: number;
  /** Query heads whose scores a lane adds up. */
  readonly heads: number;
  /** Lanes of a workgroup, each with four tokens; up to 8 are a subgroup and broadcast queries. */
  readonly lanes: number;
}

/** Storage buffers of `sketch_scores`. */
export const SKETCH_SCORES_BINDINGS = {
  state: "read u32",
  codes: "read u32",
  scales: "read u32",
  queries: "read f32",
  factors: "read f32",
  levels: "read f32",
  rows: "write f32",
} as const;

/** Fields of `Params` of `sketch_scores`. */
export const SKETCH_SCORES_PARAMS = {
  query_heads: "u32",
  kv_heads: "u32",
  capacity: "u32",
  window: "u32",
  softcap: "f32",
} as const;

/** Contract of every variant of `sketch_scores`. */
export interface SketchScoresContract extends KernelContract {
  /** Storage buffers. */
  readonly bindings: typeof SKETCH_SCORES_BINDINGS;
  /** None: sizes are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and rule. */
  readonly params: typeof SKETCH_SCORES_PARAMS;
}

/** Variants by what they depend on: every layer asks for the same. */
const VARIANTS = new Map<string, Kernel<SketchScoresContract>>();

/**
 * Makes a variant of `sketch_scores`.
 *
 * @param variant What the text depends on.
 * @returns The kernel.
 */
export function sketchScores(variant: SketchScoresVariant): Kernel<SketchScoresContract> {
  const { bits, words, heads, lanes } = variant;
  const name = `sketch_scores_${bits}_${words}_${heads}_${lanes}`;
  const known = VARIANTS.get(name);
  if (known) return known;
  const elements = 32 / bits * words;
  const isSubgroup = lanes <= 8;
  const tableBytes = bits === 4 ? 64 : 0;
  const workgroupBytes = tableBytes + (isSubgroup ? 0 : 4 * heads * elements);
  const kernel = defineKernel<SketchScoresContract>(
    {
      name,
      wgsl: writeOut(wgsl, {
        LANES: lanes,
        BITS: bits,
        HEADS: heads,
        WORDS: words,
        FIELDS: 8 / bits,
        VEC4S: elements / 4,
        ROUNDS: Math.ceil(heads * 8 / bits / lanes),
        SUBGROUP: isSubgroup ? 1 : 0,
        TABLE: bits === 4 ? 1 : 0,
        TWO: bits === 2 ? 1 : 0,
      }).replace("fn sketch_scores(", `fn ${name}(`).replace(/^\/\/ \w+:/, `// ${name}:`),
      bindings: SKETCH_SCORES_BINDINGS,
      constants: {},
      params: SKETCH_SCORES_PARAMS,
      ...(workgroupBytes > 0 && { workgroupBytes }),
      ...(isSubgroup && { subgroupSize: lanes }),
    },
    (run) => scoreAll(run, variant),
    {
      module: CPU_MODULE,
      extras: { bits, words, chunk_tokens: CHUNK_TOKENS },
      passes: ({ params, grid: [, , sequences] }) => {
        const { kv_heads, query_heads, capacity } = params;
        const chunks = Math.ceil(capacity / CHUNK_TOKENS);
        const work = CHUNK_TOKENS * words * (8 / bits) * (2 + query_heads / kv_heads);
        return [{
          entry: "sketch_scores",
          items: sequences * kv_heads * chunks,
          work,
          values: { chunks },
        }];
      },
      // Whole numbers of 16 bits of the heads that share keys, and a table.
      threadBytes: ({ params: { query_heads, kv_heads } }) =>
        16 + 2 * elements * query_heads / kv_heads,
    },
  );
  VARIANTS.set(name, kernel);
  return kernel;
}

function scoreAll(
  { buffers, params, grid: [, , sequences] }: KernelRun<SketchScoresContract>,
  { bits, words }: SketchScoresVariant,
): void {
  const { query_heads, kv_heads, capacity, window, softcap } = params;
  const elements = 32 / bits * words;
  const { buffer, byteOffset, length } = buffers.scales as Uint32Array<ArrayBuffer>;
  const scales = new Float16Array(buffer, byteOffset, 2 * length);
  const places = Array.from({ length: elements }, (_, i) => codePlace(words, bits, i));
  for (let place = 0; place < sequences * query_heads; place++) {
    const sequence = buffers.state[0]! + Math.floor(place / query_heads);
    const head = place % query_heads;
    const flat = sequence * query_heads + head;
    const kvHead = sequence * kv_heads + Math.floor(head * kv_heads / query_heads);
    const position = buffers.state[1 + sequence]!;
    const query = buffers.queries.subarray(flat * elements, (flat + 1) * elements);
    const end = Math.min(4 * Math.ceil((position + 1) / 4), capacity);
    for (let token = 0; token < end; token++) {
      const block = (kvHead * capacity / 4 + (token >>> 2)) * 4 * words + (token & 3);
      let sum = 0;
      places.forEach(({ word, shift }, i) => {
        const code = (buffers.codes[block + 4 * word]! >>> shift) & (2 ** bits - 1);
        sum += query[i]! * buffers.levels[code]!;
      });
      const scaled = sum * scales[kvHead * capacity + token]! * buffers.factors[2 * flat]! +
        buffers.factors[2 * flat + 1]!;
      const score = softcap > 0 ? softcap * Math.LOG2E * Math.tanh(scaled) : scaled;
      const isSeen = token <= position && (window === 0 || position - token < window);
      buffers.rows[flat * capacity + token] = isSeen ? score : LOWEST;
    }
  }
}

/** Sizes of `sketch_scores`. */
export interface SketchScoresShape extends SketchSize, Pick<AttentionRule, "window" | "softcap"> {
  /** Sequences in the step, each with one row. */
  readonly sequences: number;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads; divide `queryHeads`. */
  readonly kvHeads: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/**
 * Prepares the scores of a step's queries with the sketches of all tokens.
 *
 * @param info The device, for the choice of the variant.
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes, and the rule of the layer's attention.
 * @returns The command.
 * @throws {RequirementError} If a size is not supported.
 */
export function sketchScoresCommand(
  info: AdapterFeatures,
  buffers: DispatchBuffers<SketchScoresContract>,
  shape: SketchScoresShape,
): Command {
  const action = "score sketches";
  const { queryHeads, kvHeads, capacity } = shape;
  checkSketch(action, shape);
  checkInteger(action, "queryHeads / kvHeads", { value: queryHeads / kvHeads, min: 1 });
  const variant = scoresVariant(info, shape);
  return dispatch({
    kernel: sketchScores(variant),
    buffers,
    params: {
      query_heads: queryHeads,
      kv_heads: kvHeads,
      capacity,
      window: shape.window ?? 0,
      softcap: shape.softcap ?? 0,
    },
    grid: sketchScoresGrid(variant, shape),
  });
}

/**
 * Chooses the variant for a step.
 *
 * @param info The device.
 * @param shape Sizes.
 * @returns Bits, words, heads that share a lane, lanes.
 */
export function scoresVariant(
  info: AdapterFeatures,
  shape: SketchSize & Pick<SketchScoresShape, "queryHeads" | "kvHeads">,
): SketchScoresVariant {
  const group = shape.queryHeads / shape.kvHeads;
  const pieces = Math.ceil(group / MOST_HEADS);
  // As many heads in each piece as divide a group.
  let heads = Math.ceil(group / pieces);
  while (group % heads !== 0) heads--;
  const { lanes: narrow, isSubgroup } = broadcastOf(layoutOf(info).subgroupSize);
  const lanes = isSubgroup ? narrow : MEMORY_LANES;
  return { bits: shape.bits, words: sketchWords(shape), heads, lanes };
}

/**
 * Counts the workgroups of `sketch_scores`.
 *
 * @param variant Heads and lanes of a workgroup.
 * @param shape Sizes of the step.
 * @returns Groups of tokens, groups of query heads, sequences.
 */
export function sketchScoresGrid(
  { heads, lanes }: Pick<SketchScoresVariant, "heads" | "lanes">,
  { queryHeads, sequences, capacity }: Pick<
    SketchScoresShape,
    "queryHeads" | "sequences" | "capacity"
  >,
): [number, number, number] {
  return [Math.ceil(capacity / (4 * TILES * lanes)), queryHeads / heads, sequences];
}

/** Blocks of four tokens that a lane takes. */
const TILES = 4;

/** Variants for the tests that compare contracts with WGSL. */
export function sketchScoresSamples(): Kernel[] {
  const sizes = [{ bits: 1, heads: 1 }, { bits: 2, heads: 6 }, { bits: 4, heads: 2 }] as const;
  return sizes.map(({ bits, heads }) =>
    sketchScores({ bits, words: sketchWords({ headDim: 64, bits }), heads, lanes: 8 })
  ) as unknown as Kernel[];
}
