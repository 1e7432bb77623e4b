/**
 * Dispatches that use packed weights: linear maps and the lookup of tokens.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import {
  type Command,
  type DeviceBuffer,
  type DeviceInfo,
  type Dispatch,
  dispatch,
} from "../../gpu/device.ts";
import { embeddingGrid, embeddingKernel } from "../../kernels/embedding.ts";
import { fusedMatmulKernel } from "../../kernels/fused_matmul.ts";
import type { Activation } from "../../kernels/gate_multiply.ts";
import { matmulKernel } from "../../kernels/matmul.ts";
import { matmulGrid, type MatmulTile } from "../../kernels/matmul_tile.ts";
import { chooseMatmul, kernelShapes, roundedActivations } from "../../kernels/shapes.ts";
import { paddedColumns, ROWS_PER_PANEL } from "../../kernels/weights/format.ts";
import type { PackedWeight, WeightBlock } from "../weights/packed_weight.ts";
import { neededRows, type RoundedRows, roundingCommands } from "./rounding.ts";

/** A linear map and where its rows are. */
export interface LinearStep {
  /** The matrix, [outputs, inputs]. */
  readonly weight: PackedWeight;
  /** What is added to the product, f32 [outputs]. */
  readonly bias?: DeviceBuffer;
  /** f32 [rows rounded up to 16, inputStride]; zeros from the matrix' columns to the next multiple of 32. */
  readonly input: DeviceBuffer;
  /** Length of an input row, a multiple of 32. */
  readonly inputStride: number;
  /** f32 [rows, outputStride]; another buffer than `input`. */
  readonly output: DeviceBuffer;
  /** Length of an output row. */
  readonly outputStride: number;
  /** First column of the output row; 0 if left out. */
  readonly outputOffset?: number;
  /** Rows of input and output. */
  readonly rows: number;
  /** Whether the product is added to what `output` holds. */
  readonly accumulate?: boolean;
  /** Factor on product and bias; 1 if left out. */
  readonly factor?: number | undefined;
  /** Norm of the rows of `input`, where `canNorm` allows it; none if left out. */
  readonly norm?: InputNorm | undefined;
  /** Activation that joins the halves of a matrix of gate and up, where `canGate` allows it; none if left out. */
  readonly gate?: Activation | undefined;
  /** Buffers for rounded input, needed where the device rounds activations. */
  readonly rounded?: RoundedRows | undefined;
}

/** A norm by the root mean square of rows. */
export interface InputNorm {
  /** Weight of each column, f32 [columns]. */
  readonly weight: DeviceBuffer;
  /** Columns, a multiple of 4. */
  readonly columns: number;
  /** Added to the mean square. */
  readonly epsilon: number;
}

/**
 * Tells whether a device normalizes the input of linear maps on the way, without a dispatch.
 *
 * @param info The device.
 * @param weights The matrices that read the rows.
 * @param rows Rows.
 */
export function canNorm(info: DeviceInfo, weights: readonly PackedWeight[], rows: number): boolean {
  return weights.every((weight) =>
    weight.columns % 4 === 0 && roundedActivations(info, weight.format.name) === undefined &&
    isSplit(info, weight, rows)
  );
}

/**
 * Tells whether a device joins gate and up of an MLP in their product, without a dispatch.
 *
 * @param info The device.
 * @param weight Rows of gate, then as many of up.
 * @param rows Activation rows.
 */
export function canGate(info: DeviceInfo, weight: PackedWeight, rows: number): boolean {
  const isWhole = weight.blocks.length === 1 && weight.rows % (2 * ROWS_PER_PANEL) === 0;
  return isWhole && isSplit(info, weight, rows);
}

function isSplit(info: DeviceInfo, weight: PackedWeight, rows: number): boolean {
  return kernelShapes(info).fuses &&
    weight.blocks.every((block) => tileOf(info, weight, { block, rows }).variant === "split");
}

function tileOf(
  info: DeviceInfo,
  { format }: PackedWeight,
  { block, rows }: { readonly block: Pick<WeightBlock, "rows">; readonly rows: number },
): MatmulTile {
  return chooseMatmul(info, { format: format.name, rows, weightRows: block.rows });
}

/**
 * Dispatches of a linear map: its input is rounded where the device rounds activations, then multiplied.
 *
 * @param info The device; decides which variant of the kernel runs.
 * @throws {RequirementError} If the input rows are shorter than the padded columns, or nothing can hold them rounded.
 */
export function linearCommands(info: DeviceInfo, step: LinearStep): Command[] {
  return [...roundingCommands(info, [step.weight], step), ...productCommands(info, step)];
}

/**
 * Dispatches of a linear map whose input has been rounded where it must be, one per row block of its matrix.
 *
 * @param info The device; decides which variant of the kernel runs.
 * @throws {RequirementError} As {@linkcode linearCommands}.
 */
export function productCommands(info: DeviceInfo, step: LinearStep): Command[] {
  const { weight, rows, input, output, outputOffset = 0 } = step;
  const columns = paddedColumns(weight.columns);
  if (step.inputStride < columns || step.inputStride % 4 !== 0) {
    throw new RequirementError({
      action: "multiply by weights",
      requirement: `inputStride must be a multiple of 4 and at least ${columns}`,
      current: step.inputStride,
    });
  }
  const { norm, gate } = step;
  return weight.blocks.map((block) => {
    const tile = tileOf(info, weight, { block, rows });
    const isRounded = tile.activations !== undefined;
    const buffers = {
      ...inputBuffers(tile, step),
      ...block.planes,
      bias: step.bias ?? input,
      output,
    };
    const params = {
      rows,
      columns,
      input_stride: isRounded ? columns : step.inputStride,
      output_stride: step.outputStride,
      output_offset: outputOffset + block.firstRow,
      weight_rows: block.rows,
      bias_offset: block.firstRow,
      has_bias: step.bias ? 1 : 0,
      accumulate: step.accumulate ? 1 : 0,
      factor: step.factor ?? 1,
    };
    const grid = matmulGrid(tile, { rows, weightRows: block.rows });
    const plain = { kernel: matmulKernel(weight.format, tile), buffers, params, grid };
    return dispatch(norm || gate ? fused(plain, step, tile) : plain);
  });
}

function inputBuffers(
  { activations }: MatmulTile,
  { input, rounded }: LinearStep,
): Readonly<Record<string, DeviceBuffer>> {
  if (activations === undefined) return { input };
  const { values, scales } = neededRows(activations, rounded);
  return { input: values, input_scales: scales };
}

/** The dispatch of a product that also normalizes its input, or joins gate and up. */
function fused(plain: Dispatch, step: LinearStep, tile: MatmulTile): Dispatch {
  const { weight: { format }, norm, gate, rows } = step;
  const outputs = plain.params.weight_rows! / (gate ? 2 : 1);
  // With a gate a thread has twice as many weight rows as outputs.
  const ownTile = gate ? { ...tile, rowPanels: Math.max(1, tile.rowPanels / 2) } : tile;
  return {
    kernel: fusedMatmulKernel(format, ownTile, {
      ...(norm && { norm: true }),
      ...(gate && { gate }),
    }),
    buffers: { ...plain.buffers, ...(norm && { gain: norm.weight }) },
    params: {
      ...plain.params,
      weight_rows: outputs,
      ...(norm && { norm_columns: norm.columns, epsilon: norm.epsilon }),
      ...(gate && { up_panel: outputs / ROWS_PER_PANEL }),
    },
    grid: matmulGrid(ownTile, { rows, weightRows: outputs }),
  };
}

/** A lookup of tokens and where its rows are. */
export interface EmbeddingStep {
  /** The matrix, [vocabulary, hidden]. */
  readonly weight: PackedWeight;
  /** Token ids, u32 [sequences, capacity]. */
  readonly tokens: DeviceBuffer;
  /** First sequence of the step, then the tokens each sequence has in the cache, u32. */
  readonly state: DeviceBuffer;
  /** f32 [rows, stride]. */
  readonly output: DeviceBuffer;
  /** Rows of the step. */
  readonly rows: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Length of an output row, a multiple of 32. */
  readonly stride: number;
  /** Factor on every element; 1 if left out. */
  readonly factor?: number | undefined;
}

/**
 * Dispatches of a lookup, one per row block of the matrix.
 *
 * @returns Commands; their order does not matter.
 */
export function embeddingCommands(step: EmbeddingStep): Command[] {
  const { weight, tokens, state, output, rows, capacity, stride } = step;
  const columns = paddedColumns(weight.columns);
  return weight.blocks.map((block) =>
    dispatch({
      kernel: embeddingKernel(weight.format),
      buffers: { tokens, state, ...block.planes, output },
      params: {
        rows,
        rows_per_sequence: step.rowsPerSequence,
        capacity,
        columns,
        stride,
        first_row: block.firstRow,
        block_rows: block.rows,
        factor: step.factor ?? 1,
      },
      grid: embeddingGrid(rows, columns),
    })
  );
}
