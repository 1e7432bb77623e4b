/**
 * Times matrix products of a device at the shapes of Qwen2.5-0.5B and 1.5B, after checking them against their twins.
 *
 * @module
 */

import type { Device } from "../gpu/device.ts";
import { type MatmulTile, tileName } from "../kernels/matmul_tile.ts";
import { chooseMatmul } from "../kernels/shapes.ts";
import { columnStep, type MatrixShape, type WeightFormat } from "../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { rowBlocks } from "../models/weights/packed_weight.ts";
import { Product, SAMPLES, type Timing, weightBytes } from "./product.ts";
import {
  DEVICE_OPTIONS,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
} from "./timing.ts";

/** One kind of matrix of a model. */
interface Shape extends MatrixShape {
  /** How often a model has it. */
  readonly count: number;
}

const MODELS: Readonly<Record<string, readonly Shape[]>> = {
  "0.5B": [
    { rows: 1152, columns: 896, count: 24 },
    { rows: 896, columns: 896, count: 24 },
    { rows: 9728, columns: 896, count: 24 },
    { rows: 896, columns: 4864, count: 24 },
    { rows: 151_936, columns: 896, count: 1 },
  ],
  "1.5B": [
    { rows: 2048, columns: 1536, count: 28 },
    { rows: 1536, columns: 1536, count: 28 },
    { rows: 17_920, columns: 1536, count: 28 },
    { rows: 1536, columns: 8960, count: 28 },
    { rows: 151_936, columns: 1536, count: 1 },
  ],
};

/** Names of all formats. */
const NAMES = WEIGHT_FORMATS.map(({ name }) => name);

const COLUMNS = [
  ["format", -6],
  ["matrix", -14],
  ["rows", 4, 0],
  ["ms, clock", 10],
  ["processor", 9],
  ["G weights/s", 11],
  ["GB/s", 7],
  ["GFLOP/s", 8, 1],
  ["of a core", 9, 1],
  ["tile", -18],
] as const;

function print(format: WeightFormat, timing: Timing, tile: MatmulTile): void {
  const { rows, columns, inputRows, wallMs, processorMs } = timing;
  const weights = rows * columns;
  const bytes = weightBytes(format, timing);
  const rates = [weights, bytes, 2 * inputRows * weights].map((count) => count / wallMs / 1e6);
  const ofCore = 2 * inputRows * weights / processorMs / 1e6;
  const times = [wallMs, processorMs, ...rates, ofCore];
  printRow(COLUMNS, [format.name, `${rows} x ${columns}`, inputRows, ...times, tileName(tile)]);
}

/** Runs the benchmark. */
export async function benchMatmul(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    formats: NAMES.join(","),
    models: "0.5B",
    rows: "1,128",
  });
  await onEachDevice(options, (device) => benchOn(device, options));
}

async function benchOn(
  device: Device,
  options: Options<"formats" | "models" | "rows">,
): Promise<void> {
  printDevice(device);
  printRow(COLUMNS);
  const timings: (Timing & { readonly tile: string })[] = [];
  const modelMs: Record<string, { readonly wall: number; readonly processor: number }> = {};
  for (const model of options.words("models", Object.keys(MODELS))) {
    const names = options.words("formats", NAMES);
    for (const format of WEIGHT_FORMATS.filter(({ name }) => names.includes(name))) {
      for (const inputRows of options.counts("rows")) {
        const total = { wall: 0, processor: 0 };
        for (const shape of MODELS[model]!) {
          if (inputRows > 1 && shape.count === 1) continue; // only the last row meets the vocabulary
          if (shape.columns % columnStep(format) !== 0) continue; // files use others
          // A whole row block at most: larger matrices run as several of them.
          const rows = rowBlocks(device.info, format, shape)[0]!.rows;
          const size = { format: format.name, rows: inputRows, weightRows: rows };
          const tile = chooseMatmul(device.info, size);
          using product = new Product(device, format, { ...shape, rows, inputRows });
          await product.check(tile);
          const timing = await product.time(tile);
          print(format, timing, tile);
          timings.push({ ...timing, tile: tileName(tile) });
          total.wall += timing.wallMs * shape.count * shape.rows / rows;
          total.processor += timing.processorMs * shape.count * shape.rows / rows;
        }
        const name = `${model} ${format.name} rows ${inputRows}`;
        console.log(
          `${name}: whole model ${total.wall.toFixed(0)} ms by the clock, ${
            total.processor.toFixed(0)
          } ms of processor time`,
        );
        modelMs[name] = total;
      }
    }
  }
  printJson("matmul", device, { samples: SAMPLES, modelMs, timings });
}
