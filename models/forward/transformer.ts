/**
 * The forward pass of a decoder-only transformer as lists of kernel dispatches.
 *
 * One pass for every supported family: what differs is data (`ModelConfig`) or which weights exist.
 *
 * @module
 */

import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { argmaxCommands } from "../../kernels/argmax.ts";
import { attentionMapCommand, attentionSumsCommand } from "../../kernels/attention_columns.ts";
import { decodeAttentionCommands, flashAttentionCommand } from "../../kernels/flash_attention.ts";
import { gateMultiplyCommand } from "../../kernels/gate_multiply.ts";
import { normInPlaceCommand } from "../../kernels/norm_in_place.ts";
import { rmsNormCommand, type RmsNormShape } from "../../kernels/rms_norm.ts";
import { ropeCacheCommand } from "../../kernels/rope_cache.ts";
import { softcapCommand } from "../../kernels/softcap.ts";
import {
  attentionShape,
  type ForwardState,
  type HeadRows,
  type LayerOptions,
  type StepShape,
  usedShare,
} from "./forward.ts";
import { canGate, canNorm, embeddingCommands, type LinearStep, productCommands } from "./linear.ts";
import { layerRotation, queryRotation } from "../rotation.ts";
import { roundingCommands } from "./rounding.ts";
import type { Projection } from "../weights/weights.ts";
import { upOffset } from "./workspace.ts";

/**
 * Dispatches that look tokens up in the embedding.
 *
 * @returns Commands that write the residual stream.
 */
export function embeddingStep(state: ForwardState, step: StepShape): Command[] {
  const { workspace, weights } = state;
  return embeddingCommands({
    weight: weights.embedding,
    tokens: workspace.tokens,
    state: workspace.state,
    output: workspace.hidden,
    rows: step.sequences * step.rowsPerSequence,
    rowsPerSequence: step.rowsPerSequence,
    capacity: workspace.shape.capacity,
    stride: workspace.strides.hidden,
    factor: state.config.embeddingFactor,
  });
}

/**
 * Dispatches of one layer: attention with its cache, then the MLP, both added to the residual stream.
 *
 * @param options Index of the layer, and what differs from plain causal attention.
 */
export function layerStep(
  state: ForwardState,
  step: StepShape,
  options: LayerOptions,
): Command[] {
  const rows = step.sequences * step.rowsPerSequence;
  const attended = [
    ...projectionStep(state, options.layer, rows),
    ...attentionStep(state, step, options),
  ];
  if (options.hasOutput === false) return attended;
  return [...attended, ...outputStep(state, options.layer, rows)];
}

/**
 * Dispatches of the first part of a layer: norm, and projections to queries, keys and values.
 *
 * @returns Commands that turn `workspace.hidden` into `workspace.queryKeyValue`, row by row.
 */
export function projectionStep(state: ForwardState, layer: number, rows: number): Command[] {
  const { workspace } = state;
  const weights = state.weights.layers[layer]!;
  const { commands, ...read } = normStep(state, rows, {
    weight: weights.attentionNorm,
    readers: weights.queryKeyValue,
  });
  return [
    ...commands,
    ...linearStep(state, readProjections(state, layer), {
      ...read,
      inputStride: workspace.strides.hidden,
      output: workspace.queryKeyValue,
      outputStride: workspace.strides.queryKeyValue,
      rows,
    }),
    ...(state.config.isQkNormJoint ? jointNormStep(state, layer, rows) : []),
  ];
}

/** Projections of a layer that anything reads: those to values alone are not where the cache holds none. */
function readProjections({ config, cache, weights }: ForwardState, layer: number): Projection[] {
  const { queryHeads, kvHeads, headDim } = config;
  const { keys, values } = cache.layers[layer]!;
  return weights.layers[layer]!.queryKeyValue.filter(({ outputOffset }) =>
    keys !== values || outputOffset < (queryHeads + kvHeads) * headDim
  );
}

/** Norms of all query heads, and of all key heads, of each row. */
function jointNormStep(state: ForwardState, layer: number, rows: number): Command[] {
  const { config, workspace } = state;
  const { queryNorm, keyNorm } = state.weights.layers[layer]!;
  const queries = config.queryHeads * config.headDim;
  const norm = (weight: DeviceBuffer, offset: number, columns: number) =>
    normInPlaceCommand(state.device.info, { weight, values: workspace.queryKeyValue }, {
      rows,
      columns,
      stride: workspace.strides.queryKeyValue,
      offset,
      epsilon: config.normEpsilon * usedShare(config),
    });
  return [norm(queryNorm!, 0, queries), norm(keyNorm!, queries, config.kvHeads * config.headDim)];
}

/**
 * Dispatches of the second part of a layer: rotation, the write into the cache, and attention. Only here do rows have
 * positions and see each other.
 *
 * @param options Index of the layer, and what differs from plain causal attention.
 * @returns Commands that turn `workspace.queryKeyValue` into `workspace.heads`.
 */
export function attentionStep(
  state: ForwardState,
  step: StepShape,
  options: LayerOptions,
): Command[] {
  return [
    ropeStep(state, step, options.layer),
    ...(options.attention ?? cacheAttentionStep(state, step, options)),
    ...(options.observe ?? []),
  ];
}

/**
 * Dispatches of the last part of a layer: the heads' projection and the MLP, both added to the residual stream.
 *
 * @returns Commands that read `workspace.heads` and change `workspace.hidden`, row by row.
 */
export function outputStep(state: ForwardState, layer: number, rows: number): Command[] {
  const { heads: input, strides: { heads: inputStride } } = state.workspace;
  const { output, attentionOutputNorm: norm } = state.weights.layers[layer]!;
  return [
    ...residualStep(state, output, { input, inputStride, rows, norm }),
    ...mlpStep(state, layer, rows),
  ];
}

/**
 * Dispatches that turn rows of the residual stream into logits.
 *
 * @returns Commands that write `workspace.logits`.
 */
export function logitsStep(state: ForwardState, which: HeadRows): Command[] {
  const { workspace, weights, config } = state;
  const { logitSoftcap: cap, vocabulary: columns } = config;
  return [
    rmsNormCommand(
      state.device.info,
      { input: workspace.hidden, weight: weights.finalNorm, output: workspace.last },
      { ...normShape(state, which.rows), rowStep: which.rowStep, rowOffset: which.rowOffset },
    ),
    ...linearStep(state, weights.head, {
      input: workspace.last,
      inputStride: workspace.strides.hidden,
      output: workspace.logits,
      outputStride: workspace.strides.logits,
      rows: which.rows,
      factor: config.logitFactor,
    }),
    ...(cap === undefined ? [] : [softcapCommand({ values: workspace.logits }, {
      rows: which.rows,
      columns,
      stride: workspace.strides.logits,
      cap,
    })]),
  ];
}

/**
 * Dispatches that choose each sequence's most likely token, append it, and advance the sequence.
 *
 * @param state Model and buffers; logits hold one row per sequence of the step.
 * @returns Commands that write `workspace.tokens` and `workspace.state`.
 */
export function argmaxStep({ workspace, config }: ForwardState, step: StepShape): Command[] {
  const { logits, best, tokens, state } = workspace;
  return argmaxCommands({ logits, partial: best, tokens, state }, {
    sequences: step.sequences,
    columns: config.vocabulary,
    stride: workspace.strides.logits,
    capacity: workspace.shape.capacity,
    advance: step.rowsPerSequence,
  });
}

/** Rotation of queries and keys, and the write into the cache. */
function ropeStep(state: ForwardState, step: StepShape, layer: number): Command {
  const { config, workspace } = state;
  const weights = state.weights.layers[layer]!;
  const { keys, values, write } = state.cache.layers[layer]!;
  const hasValues = keys !== values;
  const hasHeadNorms = config.hasQkNorm && !config.isQkNormJoint;
  const center = state.keyCenters?.[layer]?.buffer;
  return ropeCacheCommand({
    state: workspace.state,
    rotation: layerRotation(state, layer),
    ...(hasHeadNorms && { q_norm: weights.queryNorm!, k_norm: weights.keyNorm! }),
    ...(center && { center }),
    qkv: workspace.queryKeyValue,
    keys,
    values: hasValues ? values : workspace.heads, // which stays as it is
  }, {
    ...attentionShape(state, step, layer),
    hasValues,
    epsilon: config.normEpsilon * usedShare(config),
    queryRotation: queryRotation(config, workspace.shape.capacity),
    ...(write && { write }),
  });
}

function cacheAttentionStep(
  state: ForwardState,
  step: StepShape,
  { layer, maps, rowDecay = 1, isSummed = true }: LayerOptions,
): Command[] {
  const { device: { info }, workspace, taps } = state;
  const { keys, values } = state.cache.layers[layer]!;
  const { state: lengths, queryKeyValue: qkv, logSum: log_sum, partial } = workspace;
  const shape = attentionShape(state, step, layer);
  const visible = taps.visible?.windows[layer] ?? lengths;
  const read = { state: lengths, qkv, keys, visible, log_sum };
  const sums = taps.sums?.windows[layer];
  const buffers = { ...read, values, output: workspace.heads };
  const commands = step.rowsPerSequence > 1
    ? [flashAttentionCommand(info, { shape, buffers })]
    : decodeAttentionCommands(info, {
      shape,
      buffers: { ...buffers, ...(partial && { partial }) },
    });
  if (sums && isSummed) {
    commands.push(attentionSumsCommand(info, { shape, buffers: { ...read, sums }, rowDecay }));
  }
  maps?.heads.forEach((head, index) =>
    commands.push(attentionMapCommand(info, {
      shape,
      map: { head, stride: maps.stride, offset: index * step.rowsPerSequence },
      buffers: { ...read, output: maps.buffer },
    }))
  );
  return commands;
}

function mlpStep(state: ForwardState, layer: number, rows: number): Command[] {
  const { workspace } = state;
  const { strides } = workspace;
  const weights = state.weights.layers[layer]!;
  const { commands, ...read } = normStep(state, rows, {
    weight: weights.mlpNorm,
    readers: weights.gateUp,
  });
  return [
    ...commands,
    ...gateUpStep(state, weights.gateUp, { ...read, rows }),
    ...residualStep(state, weights.down, {
      input: workspace.mlp,
      inputStride: strides.mlp,
      rows,
      norm: weights.mlpOutputNorm,
    }),
  ];
}

/** Gate and up projections, and the activation that joins them: together where the device can do so. */
function gateUpStep(
  state: ForwardState,
  projections: readonly Projection[],
  read: Pick<LinearStep, "input" | "norm" | "rows">,
): Command[] {
  const { workspace, config: { mlp: columns, activation = "silu" } } = state;
  const { strides, mlp: output } = workspace;
  const { rows } = read;
  const [joint] = projections;
  const isJoint = projections.length === 1 && joint!.bias === undefined &&
    joint!.weight.rows === 2 * columns;
  const step = { ...read, inputStride: strides.hidden };
  if (isJoint && canGate(state.device.info, joint!.weight, rows)) {
    const joined = { output, outputStride: strides.mlp, gate: activation };
    return linearStep(state, projections, { ...step, ...joined });
  }
  const gateUp = { output: workspace.gateUp, outputStride: strides.gateUp };
  return [
    ...linearStep(state, projections, { ...step, ...gateUp }),
    gateMultiplyCommand({ input: workspace.gateUp, output }, {
      rows,
      columns,
      inputStride: strides.gateUp,
      upOffset: upOffset(state.config),
      outputStride: strides.mlp,
      activation,
    }),
  ];
}

/** Adds a projection to the residual stream, after a norm where the block has one there. */
function residualStep(
  state: ForwardState,
  projections: readonly Projection[],
  { norm, ...read }: Pick<LinearStep, "input" | "inputStride" | "rows"> & {
    readonly norm: DeviceBuffer | undefined;
  },
): Command[] {
  const { hidden, normed, strides: { hidden: outputStride } } = state.workspace;
  const { residualFactor: factor } = state.config;
  if (norm === undefined) {
    return linearStep(state, projections, {
      ...read,
      output: hidden,
      outputStride,
      factor,
      accumulate: true,
    });
  }
  return [
    ...linearStep(state, projections, { ...read, output: normed, outputStride }),
    rmsNormCommand(state.device.info, { input: normed, weight: norm, output: hidden }, {
      ...normShape(state, read.rows),
      accumulate: true,
    }),
  ];
}

/** What a part of a block reads: the residual stream, after a norm where the block has one there. */
function normStep(
  state: ForwardState,
  rows: number,
  { weight, readers }: {
    readonly weight: DeviceBuffer | undefined;
    readonly readers: readonly Projection[];
  },
): Pick<LinearStep, "input" | "norm"> & { readonly commands: readonly Command[] } {
  const { device: { info }, workspace: { hidden, normed }, config } = state;
  if (weight === undefined) return { input: hidden, commands: [] };
  if (canNorm(info, readers.map((reader) => reader.weight), rows)) {
    const norm = { weight, columns: config.hidden, epsilon: config.normEpsilon };
    return { input: hidden, norm, commands: [] };
  }
  const norm = rmsNormCommand(
    state.device.info,
    { input: hidden, weight, output: normed },
    normShape(state, rows),
  );
  return { input: normed, commands: [norm] };
}

function normShape({ config, workspace }: ForwardState, rows: number): RmsNormShape {
  return {
    rows,
    columns: config.hidden,
    inputStride: workspace.strides.hidden,
    outputStride: workspace.strides.hidden,
    epsilon: config.normEpsilon,
  };
}

/** Dispatches of projections that read the same rows, which are rounded once where they must be. */
function linearStep(
  { device: { info }, workspace: { rounded } }: ForwardState,
  projections: readonly Projection[],
  read: Omit<LinearStep, keyof Projection | "rounded">,
): Command[] {
  const rows = { ...read, rounded };
  return [
    ...roundingCommands(info, projections.map(({ weight }) => weight), rows),
    ...projections.flatMap((projection) => productCommands(info, { ...rows, ...projection })),
  ];
}
