/**
 * Activations of a forward pass, allocated once for the largest step, and the tokens that it reads.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import { argmaxPartialBytes } from "../../kernels/argmax.ts";
import { decodePartialBytes } from "../../kernels/flash_attention.ts";
import type { ModelConfig } from "../config.ts";
import { createRoundedRows, type RoundedRows } from "./rounding.ts";

/** Sizes of a workspace. */
export interface WorkspaceShape {
  /** Most rows of one step. */
  readonly rows: number;
  /** Most rows that get logits at once. */
  readonly logitRows: number;
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
}

/** Row lengths in f32, each a multiple of 32; unused columns stay zero. */
export interface Strides {
  /** Of hidden states. */
  readonly hidden: number;
  /** Of queries, keys and values side by side. */
  readonly queryKeyValue: number;
  /** Of the heads' outputs side by side. */
  readonly heads: number;
  /** Of gate and up side by side. */
  readonly gateUp: number;
  /** Of the MLP's inner activations. */
  readonly mlp: number;
  /** Of logits. */
  readonly logits: number;
}

/** What a step writes before it reads it, so that nothing of it is of use to the next step. */
export interface Activations extends Disposable {
  /** Row lengths. */
  readonly strides: Strides;
  /** Residual stream, f32 [rows, hidden]. */
  readonly hidden: DeviceBuffer;
  /** Residual stream after a norm. */
  readonly normed: DeviceBuffer;
  /** Queries, keys and values of the step. */
  readonly queryKeyValue: DeviceBuffer;
  /** Attention output, heads side by side. */
  readonly heads: DeviceBuffer;
  /** Log-sum-exp of each attention row, f32 [queryHeads, rows]. */
  readonly logSum: DeviceBuffer;
  /** Gate and up projections. */
  readonly gateUp: DeviceBuffer;
  /** SiLU(gate) * up. */
  readonly mlp: DeviceBuffer;
  /** Normed rows whose logits are computed, f32 [logitRows, hidden]. */
  readonly last: DeviceBuffer;
  /** Logits, f32 [logitRows, vocabulary]. */
  readonly logits: DeviceBuffer;
  /** Best logit of each slice and its id, scratch of the argmax. */
  readonly best: DeviceBuffer;
  /** Scratch of decode attention whose keys are split over workgroups; absent where they are not. */
  readonly partial?: DeviceBuffer;
  /** Activations as products read them; absent where the device does not round them. */
  readonly rounded?: RoundedRows;
}

/** Buffers that every step of a session reuses. */
export interface Workspace extends Activations {
  /** Its sizes. */
  readonly shape: WorkspaceShape;
  /** First sequence of the step, then the tokens each sequence has in the cache, u32 [1 + sequences]. */
  readonly state: DeviceBuffer;
  /** Token ids, u32 [sequences, capacity]. */
  readonly tokens: DeviceBuffer;
}

const padded = (columns: number) => 32 * Math.ceil(columns / 32);

/**
 * Column where the up projection starts, after the gate projection.
 *
 * @returns The MLP size, rounded up to a multiple of 4 because activations are read as vec4s.
 */
export function upOffset(config: ModelConfig): number {
  return 4 * Math.ceil(config.mlp / 4);
}

/** Row lengths of a model's activations. */
export function stridesOf(config: ModelConfig): Strides {
  const { hidden, mlp, queryHeads, kvHeads, headDim, vocabulary } = config;
  return {
    hidden: padded(hidden),
    queryKeyValue: padded((queryHeads + 2 * kvHeads) * headDim),
    heads: padded(queryHeads * headDim),
    gateUp: padded(2 * upOffset(config)),
    mlp: padded(mlp),
    logits: padded(vocabulary),
  };
}

/**
 * Allocates a workspace.
 *
 * @param activations Those of its sizes, freed with it; its own if left out.
 * @returns Buffers of zeros, apart from the activations.
 */
export function createWorkspace(
  device: Device,
  config: ModelConfig,
  shape: WorkspaceShape,
  activations: Activations = createActivations(device, config, shape),
): Workspace {
  using stack = new DisposableStack();
  stack.use(activations);
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(`${label} of the workspace`, 4 * count));
  const state = words("state", 1 + shape.sequences);
  const tokens = words("tokens", shape.sequences * shape.capacity);
  const owned = stack.move();
  return { ...activations, shape, state, tokens, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Allocates the activations of a workspace.
 *
 * @returns Buffers of zeros.
 */
export function createActivations(
  device: Device,
  config: ModelConfig,
  shape: WorkspaceShape,
): Activations {
  using stack = new DisposableStack();
  const strides = stridesOf(config);
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(`${label} of the workspace`, 4 * count));
  const rows = 16 * Math.ceil(shape.rows / 16); // tiles of 16 rows may read past the last one
  const logitRows = 16 * Math.ceil(shape.logitRows / 16);
  const partial = decodePartialBytes(device.info, {
    ...config,
    ...shape,
    rowsPerSequence: 1,
    stride: strides.queryKeyValue,
    outputStride: strides.heads,
  });
  const columns = Math.max(strides.hidden, strides.heads, strides.mlp);
  const rounded = createRoundedRows(
    device,
    { rows: Math.max(shape.rows, shape.logitRows), columns },
    stack,
  );
  const buffers = {
    hidden: words("hidden states", rows * strides.hidden),
    normed: words("normed states", rows * strides.hidden),
    queryKeyValue: words("queries, keys and values", rows * strides.queryKeyValue),
    heads: words("attention output", rows * strides.heads),
    logSum: words("log-sum-exp", rows * config.queryHeads),
    gateUp: words("gate and up", rows * strides.gateUp),
    mlp: words("MLP", rows * strides.mlp),
    last: words("last rows", logitRows * strides.hidden),
    logits: words("logits", logitRows * strides.logits),
    best: words("best logits", argmaxPartialBytes(shape.sequences) / 4),
    ...(partial > 0 && { partial: words("partial attention", partial / 4) }),
    ...(rounded && { rounded }),
  };
  const owned = stack.move();
  return { strides, ...buffers, [Symbol.dispose]: () => owned.dispose() };
}
