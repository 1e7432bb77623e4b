/**
 * Dispatches that use packed weights: linear maps and the lookup of tokens.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import { type Command, type DeviceBuffer, type DeviceInfo, dispatch } from "../../gpu/device.ts";
import { embeddingGrid, embeddingKernel } from "../../kernels/embedding.ts";
import { matmulKernel } from "../../kernels/matmul.ts";
import { matmulGrid } from "../../kernels/matmul_tile.ts";
import { chooseMatmul } from "../../kernels/shapes.ts";
import { paddedColumns } from "../../kernels/weights/format.ts";
import type { PackedWeight } from "../weights/packed_weight.ts";

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
}

/**
 * Dispatches of a linear map, one per row block of its matrix.
 *
 * @param info The device; decides which variant of the kernel runs.
 * @throws {RequirementError} If the input rows are shorter than the padded columns.
 */
export function linearCommands(info: DeviceInfo, step: LinearStep): Command[] {
  const { weight, rows, input, output, outputOffset = 0 } = step;
  const columns = paddedColumns(weight.columns);
  if (step.inputStride < columns || step.inputStride % 4 !== 0) {
    throw new RequirementError({
      action: "multiply by weights",
      requirement: `inputStride must be a multiple of 4 and at least ${columns}`,
      current: step.inputStride,
    });
  }
  return weight.blocks.map((block) => {
    const size = { format: weight.format.name, rows, weightRows: block.rows };
    const tile = chooseMatmul(info, size);
    return dispatch({
      kernel: matmulKernel(weight.format, tile),
      buffers: { input, ...block.planes, bias: step.bias ?? input, output },
      params: {
        rows,
        columns,
        input_stride: step.inputStride,
        output_stride: step.outputStride,
        output_offset: outputOffset + block.firstRow,
        weight_rows: block.rows,
        bias_offset: block.firstRow,
        has_bias: step.bias ? 1 : 0,
        accumulate: step.accumulate ? 1 : 0,
        factor: step.factor ?? 1,
      },
      grid: matmulGrid(tile, size),
    });
  });
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
