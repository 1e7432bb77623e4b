/**
 * Times the attention part of a decode step whose layers rank tokens themselves, next to attention to all tokens: one
 * layer with the head shapes of Qwen2-0.5B and Qwen2.5-1.5B, random keys and queries.
 *
 * @module
 */

import { splitBudget } from "../cache/budget.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import { decodeAttentionCommands, decodePartialBytes } from "../kernels/flash_attention.ts";
import {
  SKETCH_BITS,
  type SketchBits,
  sketchElements,
  sketchLevels,
  sketchRotation,
  sketchWords,
} from "../kernels/key_sketch.ts";
import { meanRowsCommand } from "../kernels/mean_rows.ts";
import { pageBoundsCommand } from "../kernels/page_bounds.ts";
import { pageScoresCommand } from "../kernels/page_scores.ts";
import { planBySaliencyCommand } from "../kernels/plan_by_saliency.ts";
import { selectedAttentionCommands } from "../kernels/selected_attention.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import { sketchKeysCommand } from "../kernels/sketch_keys.ts";
import { sketchQueryCommand } from "../kernels/sketch_query.ts";
import { sketchScoresCommand } from "../kernels/sketch_scores.ts";
import { softmaxRowsCommand } from "../kernels/softmax_rows.ts";
import {
  DEVICE_OPTIONS,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
  repeated,
  timeInTurns,
  type Work,
} from "./timing.ts";

/** Head shapes of real models. */
const MODELS = {
  "0.5B": { queryHeads: 14, kvHeads: 2, headDim: 64 },
  "1.5B": { queryHeads: 12, kvHeads: 2, headDim: 128 },
} as const;

/** Tokens of a page of Quest. */
const PAGE_TOKENS = 16;

const COLUMNS = [
  ["part", -28],
  ["ms, clock", 10, 3],
  ["of full", 8, 3],
  ["ms, processor", 14, 3],
  ["of full", 8, 3],
] as const;

/** Sizes of a layer. */
interface Sizes {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Tokens, the newest one included. */
  readonly tokens: number;
  readonly ratio: number;
  readonly bits: SketchBits;
}

/** Commands of each part of the step, by name. */
function layerParts(
  device: Device,
  sizes: Sizes,
  owner: DisposableStack,
): Record<string, Command[]> {
  const { queryHeads, kvHeads, headDim, tokens, ratio, bits } = sizes;
  const random = seededRandom(1);
  const uniform = () => 2 * random() - 1;
  const floats = (length: number) => Float32Array.from({ length }, uniform);
  const words = (count: number) => owner.use(device.createBuffer("words", 4 * count));
  const filled = (data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): DeviceBuffer => {
    const buffer = words(data.length);
    device.write(buffer, 0, data);
    return buffer;
  };
  const capacity = 4 * Math.ceil(tokens / 4);
  const stride = (queryHeads + 2 * kvHeads) * headDim;
  const group = queryHeads / kvHeads;
  const listWords = LIST_HEADER_WORDS + group + 2 * capacity;
  const { sink, recent, critical, marginal } = splitBudget({ ratio }, tokens, { marginal: false });
  const halves = () => filled(packFloat16(floats(kvHeads * capacity * headDim)));
  const step = { sequences: 1, rowsPerSequence: 1 };
  const shape = {
    ...{ ...step, queryHeads, kvHeads, headDim, capacity, stride },
    outputStride: queryHeads * headDim,
  };
  const size = { headDim, bits };
  const buffers = {
    state: filled(Uint32Array.of(0, tokens - 1)),
    qkv: filled(floats(stride)),
    keys: halves(),
    values: halves(),
    means: filled(floats(kvHeads * headDim)),
    rotation: filled(sketchRotation(headDim)),
    levels: filled(sketchLevels(bits)),
    codes: filled(
      Uint32Array.from(
        { length: kvHeads * capacity * sketchWords(size) },
        () => 2 ** 32 * random(),
      ),
    ),
    scales: filled(packFloat16(floats(kvHeads * capacity).map(Math.abs))),
    queries: words(queryHeads * sketchElements(size)),
    factors: words(2 * queryHeads),
    bounds: filled(
      packFloat16(floats(2 * kvHeads * Math.ceil(capacity / PAGE_TOKENS) * headDim)),
    ),
    rows: words(queryHeads * capacity),
    saliency: words(kvHeads * capacity),
    joined: filled(Uint32Array.of(group)),
    match: filled(Uint32Array.from({ length: queryHeads }, (_, head) => head)),
    budgets: filled(
      Uint32Array.from(
        { length: 4 * kvHeads },
        (_, i) => [sink, recent, critical, marginal][i % 4]!,
      ),
    ),
    lists: words(kvHeads * listWords),
    output: words(queryHeads * headDim),
    log_sum: words(queryHeads),
    attention: words(1),
    partial: words(Math.max(1, decodePartialBytes(device.info, shape) / 4)),
  };
  const scale = headDim ** -0.5 * Math.LOG2E;
  const pages = { ...shape, pageTokens: PAGE_TOKENS };
  const ranked = { ...shape, groupHeads: group, groupOffset: 0, groups: kvHeads };
  const sketch = [
    sketchKeysCommand(buffers, { ...shape, ...size }),
    sketchQueryCommand(buffers, { ...shape, ...size, scale }),
  ];
  const scores = [sketchScoresCommand(device.info, buffers, { ...shape, ...size })];
  const pageScores = [
    pageBoundsCommand(buffers, pages),
    pageScoresCommand(buffers, { ...pages, scale }),
  ];
  const rows = [softmaxRowsCommand(buffers, ranked), meanRowsCommand(buffers, ranked)];
  const plan = [
    planBySaliencyCommand(device.info, buffers, { ...ranked, groupsPerLayer: kvHeads, listWords }),
  ];
  const attend = selectedAttentionCommands(device.info, {
    shape,
    selection: {
      ...{ groupsPerLayer: kvHeads, groupOffset: 0, groups: kvHeads, listWords },
      smallHeads: queryHeads,
    },
    buffers: { ...buffers, small_attention: buffers.rows },
  });
  return {
    "attention to all tokens": decodeAttentionCommands(device.info, { shape, buffers }),
    "new sketch, rotated queries": sketch,
    "scores of sketches": scores,
    "softmax and means": rows,
    "choice of tokens": plan,
    "attention to chosen tokens": attend,
    "key_sketch, all of it": [...sketch, ...scores, ...rows, ...plan, ...attend],
    "bounds and scores of pages": pageScores,
    "quest, all of it": [...pageScores, ...rows, ...plan, ...attend],
  };
}

/** Times the parts of the attention of `key_sketch` and `quest` against attention to all tokens. */
export async function benchRanking(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    models: "1.5B,0.5B",
    tokens: "4096",
    budget: "0.05",
    bits: "2",
    samples: "7",
  });
  const [ratio, samples] = [options.share("budget"), options.count("samples")];
  const word = options.word("bits", SKETCH_BITS.map(String));
  const bits = SKETCH_BITS.find((known) => String(known) === word)!;
  await onEachDevice(options, async (device) => {
    printDevice(device);
    const results = [];
    for (const model of options.words("models", Object.keys(MODELS) as (keyof typeof MODELS)[])) {
      for (const tokens of options.counts("tokens", 100)) {
        using owner = new DisposableStack();
        const parts = layerParts(device, { ...MODELS[model], tokens, ratio, bits }, owner);
        // In order, so that each part finds what those before it leave.
        device.submit(owner.use(await device.record("first", Object.values(parts).flat())));
        const works: Record<string, Work> = {};
        for (const [name, commands] of Object.entries(parts)) {
          works[name] = await repeated(device, commands, owner);
        }
        const times = await timeInTurns(device, works, samples);
        const full = times["attention to all tokens"]!;
        console.log(`${model}, ${tokens} tokens, budget ${100 * ratio} %, ${bits} bits: one layer`);
        printRow(COLUMNS);
        for (const name of Object.keys(parts)) {
          const { medianMs, processorMs } = times[name]!;
          const shares = [medianMs / full.medianMs, processorMs / full.processorMs] as const;
          printRow(COLUMNS, [name, medianMs, shares[0], processorMs, shares[1]]);
        }
        results.push({ model, tokens, times });
      }
    }
    printJson("ranking", device, { ratio, bits, samples, results });
  });
}
