/**
 * Times the tiles among which products and attention may choose on the machine's own adapter, and keeps the fastest.
 *
 *     deno task tune [OPTION...]
 *
 * @module
 */

import { dirname } from "node:path";
import { counted } from "../core/counted.ts";
import { createAtomicFile, ensureFolder } from "../core/atomic_file.ts";
import { LabError, RequirementError, UsageError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import {
  SHAPE_WORDS,
  tunedPath,
  type TunedShapes,
  tuningKey,
  writeTuned,
} from "../experiments/runner/tuned_shapes.ts";
import type { Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { type MatmulTile, tileName } from "../kernels/matmul_tile.ts";
import {
  attentionBucket,
  type AttentionPhase,
  attentionTileName,
  attentionTiles,
} from "../kernels/attention_tile.ts";
import { checkVariant } from "../kernels/attention_shape.ts";
import { chooseMatmul, kernelShapes, productBucket, productTiles } from "../kernels/shapes.ts";
import { columnStep, type WeightFormat } from "../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { rowBlocks } from "../models/weights/packed_weight.ts";
import { Product } from "./product.ts";
import { timeAttention } from "./tune_attention.ts";
import { Options, printDevice, printRow } from "./timing.ts";

const USAGE = `Usage: deno task tune [OPTION...]

Times the tiles of matrix products and of attention on this machine's WebGPU adapter, checks each against
its float64 twin before it may win, and stores the fastest for --shapes tuned. A file is for one adapter,
driver, runtime and version of the kernels; with another one, run this again.

  --only NAME          products, or attention; both if left out
  --formats NAME,...   weight formats; q4k,q6,q8 if left out
  --rows COUNT,...     activation rows; 1,4,8,32,64,512 if left out
  --outputs COUNT,...  rows of matrices; 512,4096,16384 if left out
  --columns COUNT      columns of matrices, a multiple of 256; 4096 if left out
  --head-dims COUNT,.. elements of a head, for attention; 64,128 if left out
  --tokens COUNT       tokens in the cache, for attention; 4096 if left out
  --megabytes COUNT    size of all copies of a matrix or cache, which take turns; more than the adapter's
                       own cache holds, 96 if left out
  --seconds COUNT      time after which nothing further is begun; 300 if left out
  --shapes KIND        ${
  SHAPE_WORDS.slice(2).join(", ")
}: whose tiles; by what the adapter can do if left out
  --out FILE           file to write; one in the user's cache folder if left out`;

/** Formats, and the sizes of products that stand for others. */
const DEFAULTS = {
  only: "products,attention",
  formats: "q4k,q6,q8",
  rows: "1,4,8,32,64,512",
  outputs: "512,4096,16384",
  columns: "4096",
  "head-dims": "64,128",
  tokens: "4096",
  megabytes: "96",
  seconds: "300",
  shapes: "auto",
  out: "",
} as const;

type Milliseconds = Record<string, Record<string, number>>;

const COLUMNS = [["product", -34], ["tile", -32], ["ms, clock", 10, 3], ["", -20]] as const;

/** A product whose tiles are timed. */
interface Work {
  readonly format: WeightFormat;
  readonly inputRows: number;
  readonly outputs: number;
  readonly columns: number;
  /** Bytes of all copies of the matrix. */
  readonly bytes: number;
}

/** Bytes of all copies; there is one where that is less. */
function bytesOf(options: Options<keyof typeof DEFAULTS>): number {
  return Math.max(1, 2 ** 20 * options.counts("megabytes", 0)[0]!);
}

/** Works of the options, those of few rows first: they decide how fast a model writes. */
function worksOf(options: Options<keyof typeof DEFAULTS>): Work[] {
  const columns = options.count("columns");
  const bytes = bytesOf(options);
  const names = options.words("formats", WEIGHT_FORMATS.map(({ name }) => name));
  const formats = WEIGHT_FORMATS.filter(({ name }) => names.includes(name));
  for (const format of formats) {
    if (columns % columnStep(format) === 0) continue;
    throw new UsageError(
      `Cannot tune: --columns must be a multiple of ${
        columnStep(format)
      } for ${format.name}: current value is ${columns}`,
    );
  }
  return options.counts("rows").flatMap((inputRows) =>
    formats.flatMap((format) =>
      options.counts("outputs").map((outputs) => ({ format, inputRows, outputs, columns, bytes }))
    )
  );
}

/** Attention of the options. */
function attentionOf(options: Options<keyof typeof DEFAULTS>) {
  const [tokens, headDims] = [options.count("tokens"), options.counts("head-dims")];
  for (const headDim of headDims) checkVariant({ headDim });
  return { bytes: bytesOf(options), tokens, headDims };
}

/** What cannot be written is refused before minutes go into timing. */
async function checkWritable(path: string): Promise<void> {
  await ensureFolder(dirname(path));
  await using _file = await createAtomicFile(path);
}

/** Times every tile of a product; a tile that is wrong ends the command. */
async function timeTiles(
  device: Device,
  work: Work,
  tiles: readonly MatmulTile[],
): Promise<Record<string, number>> {
  const { format, inputRows, columns } = work;
  // A whole row block at most: larger matrices run as several of them.
  const { rows } = rowBlocks(device.info, format, { rows: work.outputs, columns })[0]!;
  using product = new Product(device, format, { rows, columns, inputRows }, work.bytes);
  const times: Record<string, number> = {};
  for (const tile of tiles) {
    await product.check(tile);
    times[tileName(tile)] = (await product.time(tile)).wallMs;
  }
  return times;
}

/** What attention is computed for; steps that decode come first. */
const PHASES: readonly AttentionPhase[] = ["decode", "selected", "prompt"];

/** Times the attention that the options ask for, until their time is over. */
async function timeHeads(
  device: Device,
  { bytes, tokens, headDims }: ReturnType<typeof attentionOf>,
  end: number,
): Promise<Milliseconds> {
  const milliseconds: Milliseconds = {};
  for (const headDim of headDims) {
    for (const phase of PHASES) {
      const use = { phase, headDim };
      const bucket = attentionBucket(use);
      if (performance.now() > end) {
        console.log(`No time is left from ${bucket} on: there the table decides`);
        return milliseconds;
      }
      const times = await timeAttention(device, { ...use, tokens, bytes });
      if (Object.keys(times).length === 0) continue;
      milliseconds[bucket] = times;
      printTimes(bucket, times, attentionTileName(attentionTiles(device.info, use)[0]!));
    }
  }
  return milliseconds;
}

/** Prints the times of what was timed together. */
function printTimes(bucket: string, times: Readonly<Record<string, number>>, usual: string): void {
  for (const [name, ms] of Object.entries(times)) {
    const isBest = name === fastest(times);
    const marks = [...(isBest ? ["fastest"] : []), ...(name === usual ? ["of the table"] : [])];
    printRow(COLUMNS, [bucket, name, ms, marks.join(", ")]);
  }
}

/** Times the products that the options ask for, until their time is over. */
async function timeProducts(
  device: Device,
  works: readonly Work[],
  end: number,
): Promise<Milliseconds> {
  const { info } = device;
  const milliseconds: Milliseconds = {};
  for (const work of works) {
    const size = { format: work.format.name, rows: work.inputRows, weightRows: work.outputs };
    const tiles = productTiles(info, size);
    const bucket = productBucket(info, size);
    if (tiles.length < 2 || bucket in milliseconds) continue;
    if (performance.now() > end) {
      console.log(`No time is left from ${bucket} on: there the table decides`);
      break;
    }
    milliseconds[bucket] = await timeTiles(device, work, tiles);
    const usual = tileName(
      chooseMatmul({ ...info, shapes: { kind: kernelShapes(info).kind } }, size),
    );
    printTimes(bucket, milliseconds[bucket], usual);
  }
  return milliseconds;
}

function winners(milliseconds: Milliseconds): Record<string, string> {
  return Object.fromEntries(
    Object.entries(milliseconds).map(([bucket, times]) => [bucket, fastest(times)]),
  );
}

function fastest(times: Readonly<Record<string, number>>): string {
  return Object.entries(times).reduce((best, other) => other[1] < best[1] ? other : best)[0];
}

/**
 * Tunes.
 *
 * @param args Words of the command line.
 * @returns What was written, and where.
 * @throws {UsageError} If an option is not known, or its value not one of its kind.
 */
export async function tune(
  args: string[],
): Promise<{ readonly path: string; readonly shapes: TunedShapes }> {
  const options = new Options(args, DEFAULTS, "tune");
  const kind = options.word("shapes", SHAPE_WORDS.filter((word) => word !== "tuned"));
  const only = options.words("only", ["products", "attention"]);
  const seconds = options.count("seconds");
  const attention = attentionOf(options);
  const works = worksOf(options);
  using device = await openDevice({
    backend: "webgpu",
    ...(kind !== "auto" && { shapes: { kind } }),
  });
  const shapes = kernelShapes(device.info);
  const hasChoice = shapes.products.some(({ tiles }) => tiles.length > 1) ||
    shapes.attentionTiles.length > 1;
  if (!hasChoice) {
    throw new RequirementError({
      action: "tune",
      requirement: "some product or attention must have several tiles",
      state: `kind ${shapes.kind} has one for each`,
    });
  }
  const key = tuningKey(device.info);
  const path = options.values.out || tunedPath(key);
  await checkWritable(path);
  printDevice(device);
  printRow(COLUMNS);
  const end = performance.now() + 1000 * seconds;
  const heads = only.includes("attention") ? await timeHeads(device, attention, end) : {};
  const matrices = only.includes("products") ? await timeProducts(device, works, end) : {};
  const winning = { products: winners(matrices), attention: winners(heads) };
  const milliseconds = { ...matrices, ...heads };
  const tuned = { ...key, kind: shapes.kind, ...winning, milliseconds };
  await writeTuned(path, tuned);
  const use = options.values.out ? path : "tuned";
  const [matrixTiles, headTiles] = Object.values(winning).map((one) => Object.keys(one).length);
  console.log(
    `${counted(matrixTiles!, "product")}, attention ${
      counted(headTiles!, "time")
    } in ${path}; --shapes ${use} takes them`,
  );
  return { path, shapes: tuned };
}

if (import.meta.main) {
  try {
    if (Deno.args.includes("--help")) console.log(USAGE);
    else await tune(Deno.args);
  } catch (error) {
    const isUsage = error instanceof UsageError;
    console.error(error instanceof LabError ? printableText(error.message) : error);
    if (isUsage) console.error("Add --help for the options.");
    Deno.exit(isUsage ? 2 : 1);
  }
}
