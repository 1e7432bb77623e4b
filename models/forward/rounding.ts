/**
 * Activations that are rounded before products, where a device was asked for it.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Command, Device, DeviceBuffer, DeviceInfo } from "../../gpu/device.ts";
import { halfActivationsCommand } from "../../kernels/half_activations.ts";
import { int8ActivationsCommand } from "../../kernels/int8_activations.ts";
import type { RoundedActivations } from "../../kernels/matmul_tile.ts";
import { roundedActivations } from "../../kernels/shapes.ts";
import { paddedColumns } from "../../kernels/weights/format.ts";
import type { PackedWeight } from "../weights/packed_weight.ts";

/** Buffers for rounded activations, which are written again for each product, or group of products. */
export interface RoundedRows {
  /** Halves or integers of 8 bits, [rows, columns]. */
  readonly values: DeviceBuffer;
  /** For each row of halves a scale, for each 32 integers a scale and two sums. */
  readonly scales: DeviceBuffer;
}

/** Bytes of both buffers, of a row of 32 columns. */
const BLOCK_BYTES = { f16: { values: 64, scales: 4 }, int8: { values: 32, scales: 8 } } as const;

/**
 * Counts the bytes that rounded activations take.
 *
 * @param info The device.
 * @param shape Rows, and columns of the longest.
 * @returns Undefined where the device does not round.
 */
export function roundedBytes(
  info: DeviceInfo,
  { rows, columns }: { readonly rows: number; readonly columns: number },
): { readonly values: number; readonly scales: number } | undefined {
  const kind = roundedActivations(info);
  if (kind === undefined) return undefined;
  const { values, scales } = BLOCK_BYTES[kind];
  const blocks = rows * paddedColumns(columns) / 32;
  return { values: values * blocks, scales: scales * (kind === "f16" ? rows : blocks) };
}

/**
 * Makes buffers for rounded activations.
 *
 * @param device The device.
 * @param shape Rows, and columns of the longest.
 * @param stack Frees them.
 * @returns Undefined where the device does not round.
 */
export function createRoundedRows(
  device: Device,
  shape: { readonly rows: number; readonly columns: number },
  stack: DisposableStack,
): RoundedRows | undefined {
  const bytes = roundedBytes(device.info, shape);
  return bytes && {
    values: stack.use(device.createBuffer("rounded activations", bytes.values)),
    scales: stack.use(device.createBuffer("scales of rounded activations", bytes.scales)),
  };
}

/** Rows that products read, and where they are rounded to. */
export interface RowsToRound {
  /** f32 [rows, inputStride]. */
  readonly input: DeviceBuffer;
  /** Length of an input row. */
  readonly inputStride: number;
  /** Rows. */
  readonly rows: number;
  /** Buffers for the rounded rows; needed where the device rounds. */
  readonly rounded?: RoundedRows | undefined;
}

/**
 * Dispatches that round the rows that matrices are multiplied by.
 *
 * @param info The device.
 * @param weights Matrices with equally many columns.
 * @returns None where no product needs them.
 * @throws {RequirementError} If there are no buffers for them.
 */
export function roundingCommands(
  info: DeviceInfo,
  weights: readonly Pick<PackedWeight, "format" | "columns">[],
  { input, inputStride: stride, rows, rounded }: RowsToRound,
): Command[] {
  const kind = weights.map(({ format }) => roundedActivations(info, format.name))
    .find((one) => one !== undefined);
  if (kind === undefined) return [];
  const { values, scales } = neededRows(kind, rounded);
  const shape = { rows, columns: paddedColumns(weights[0]!.columns), stride };
  return kind === "f16"
    ? [halfActivationsCommand({ input, halves: values, scales }, shape)]
    : [int8ActivationsCommand({ input, bytes: values, scales }, shape)];
}

/**
 * Buffers that a product reads.
 *
 * @throws {RequirementError} If there are none.
 */
export function neededRows(
  kind: RoundedActivations,
  rounded: RoundedRows | undefined,
): RoundedRows {
  if (rounded !== undefined) return rounded;
  throw new RequirementError({
    action: "multiply by weights",
    requirement: `there must be buffers for ${kind} activations`,
    current: "none",
  });
}
