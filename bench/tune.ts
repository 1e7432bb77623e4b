/**
 * Times the tiles among which products may choose on the machine's own adapter, and keeps the fastest.
 *
 *     deno task tune [OPTION...]
 *
 * @module
 */

import { checkInteger, LabError, RequirementError, UsageError } from "../core/check.ts";
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
import { chooseMatmul, kernelShapes, productBucket, productTiles } from "../kernels/shapes.ts";
import { columnStep, type WeightFormat } from "../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { rowBlocks } from "../models/weights/packed_weight.ts";
import { Product } from "./product.ts";
import { Options, printDevice, printRow } from "./timing.ts";

const USAGE = `Usage: deno task tune [OPTION...]

Times the tiles of matrix products on this machine's WebGPU adapter, checks each against its float64 twin
before it may win, and stores the fastest for --shapes tuned. A file is for one adapter, driver, runtime
and version of the kernels; with another one, run this again.

  --formats NAME,...   weight formats; q4k,q6,q8 if left out
  --rows COUNT,...     activation rows; 1,4,8,32,64,512 if left out
  --outputs COUNT,...  rows of matrices; 512,4096,16384 if left out
  --columns COUNT      columns of matrices, a multiple of 256; 4096 if left out
  --megabytes COUNT    size of all copies of a matrix, which take turns; more than caches hold, 96 if left out
  --seconds COUNT      time after which no further product is begun; 300 if left out
  --shapes KIND        ${
  SHAPE_WORDS.slice(2).join(", ")
}: whose tiles; by what the adapter can do if left out
  --out FILE           file to write; one in the user's cache folder if left out`;

/** Formats, and the sizes of products that stand for others. */
const DEFAULTS = {
  formats: "q4k,q6,q8",
  rows: "1,4,8,32,64,512",
  outputs: "512,4096,16384",
  columns: "4096",
  megabytes: "96",
  seconds: "300",
  shapes: "auto",
  out: "",
} as const;

type Milliseconds = Record<string, Record<string, number>>;

const COLUMNS = [["product", -34], ["tile", -18], ["ms, clock", 10, 3], ["", -20]] as const;

/** A product whose tiles are timed. */
interface Work {
  readonly format: WeightFormat;
  readonly inputRows: number;
  readonly outputs: number;
  readonly columns: number;
  /** Bytes of all copies of the matrix. */
  readonly bytes: number;
}

/** Works of the options, those of few rows first: they decide how fast a model writes. */
function worksOf(options: Options<keyof typeof DEFAULTS>): Work[] {
  const columns = options.count("columns");
  const bytes = 2 ** 20 * options.count("megabytes");
  const names = options.words("formats", WEIGHT_FORMATS.map(({ name }) => name));
  const formats = WEIGHT_FORMATS.filter(({ name }) => names.includes(name));
  for (const format of formats) {
    checkInteger("tune", `--columns / ${columnStep(format)}`, {
      value: columns / columnStep(format),
      min: 1,
    });
  }
  return options.counts("rows").flatMap((inputRows) =>
    formats.flatMap((format) =>
      options.counts("outputs").map((outputs) => ({ format, inputRows, outputs, columns, bytes }))
    )
  );
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

/** Times what the options ask for, until their time is over. */
async function timeAll(
  device: Device,
  options: Options<keyof typeof DEFAULTS>,
): Promise<Milliseconds> {
  const { info } = device;
  const end = performance.now() + 1000 * options.count("seconds");
  const milliseconds: Milliseconds = {};
  for (const work of worksOf(options)) {
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
    for (const [name, ms] of Object.entries(milliseconds[bucket])) {
      const isBest = name === fastest(milliseconds[bucket]);
      const marks = [...(isBest ? ["fastest"] : []), ...(name === usual ? ["of the table"] : [])];
      printRow(COLUMNS, [bucket, name, ms, marks.join(", ")]);
    }
  }
  return milliseconds;
}

function fastest(times: Readonly<Record<string, number>>): string {
  return Object.entries(times).reduce((best, other) => other[1] < best[1] ? other : best)[0];
}

/**
 * Tunes.
 *
 * @param args Words of the command line.
 * @returns What was written, and where.
 * @throws {UsageError} If an option is not known.
 */
export async function tune(
  args: string[],
): Promise<{ readonly path: string; readonly shapes: TunedShapes }> {
  const options = new Options(args, DEFAULTS);
  const [kind] = options.words("shapes", SHAPE_WORDS.filter((word) => word !== "tuned"));
  using device = await openDevice({
    backend: "webgpu",
    ...(kind !== "auto" && kind !== undefined && { shapes: { kind } }),
  });
  const shapes = kernelShapes(device.info);
  if (shapes.products.every(({ tiles }) => tiles.length < 2)) {
    throw new RequirementError({
      action: "tune",
      requirement: "some product must have several tiles",
      state: `kind ${shapes.kind} has one for each`,
    });
  }
  printDevice(device);
  printRow(COLUMNS);
  const key = tuningKey(device.info);
  const milliseconds = await timeAll(device, options);
  const products = Object.fromEntries(
    Object.entries(milliseconds).map(([bucket, times]) => [bucket, fastest(times)]),
  );
  const tuned = { ...key, kind: shapes.kind, products, milliseconds };
  const path = options.values.out || tunedPath(key);
  await writeTuned(path, tuned);
  const use = options.values.out ? path : "tuned";
  console.log(`${Object.keys(products).length} products in ${path}; --shapes ${use} takes them`);
  return { path, shapes: tuned };
}

if (import.meta.main) {
  try {
    if (Deno.args.includes("--help")) console.log(USAGE);
    else await tune(Deno.args);
  } catch (error) {
    const isKnown = error instanceof LabError || error instanceof TypeError;
    console.error(isKnown ? printableText((error as Error).message) : error);
    const isUsage = error instanceof UsageError || error instanceof TypeError;
    Deno.exit(isUsage ? 2 : 1);
  }
}
