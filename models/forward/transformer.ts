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
import { rmsNormCommand, type RmsNormShape } from "../../kernels/rms_norm.ts";
import { ropeCacheCommand } from "../../kernels/rope_cache.ts";
import { siluMultiplyCommand } from "../../kernels/silu_multiply.ts";
import {
  attentionShape,
  type ForwardState,
  type HeadRows,
  type LayerOptions,
  type StepShape,
  usedShare,
} from "./forward.ts";
import { embeddingCommands, linearCommands, type LinearStep } from "./linear.ts";
import { layerRotation } from "./rotation.ts";
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
  const { workspace } = state;
  const weights = state.weights.layers[options.layer]!;
  const rows = step.sequences * step.rowsPerSequence;
  return [
    ...attentionInputStep(state, step, options.layer),
    ...(options.attention ?? attentionStep(state, step, options)),
    ...(options.observe ?? []),
    ...linearStep(state, weights.output, {
      input: workspace.heads,
      inputStride: workspace.strides.heads,
      output: workspace.hidden,
      outputStride: workspace.strides.hidden,
      rows,
      accumulate: true,
    }),
    ...mlpStep(state, options.layer, rows),
  ];
}

/**
 * Dispatches that turn rows of the residual stream into logits.
 *
 * @returns Commands that write `workspace.logits`.
 */
export function logitsStep(state: ForwardState, which: HeadRows): Command[] {
  const { workspace, weights } = state;
  return [
    rmsNormCommand(
      { input: workspace.hidden, weight: weights.finalNorm, output: workspace.last },
      { ...normShape(state, which.rows), rowStep: which.rowStep, rowOffset: which.rowOffset },
    ),
    ...linearStep(state, weights.head, {
      input: workspace.last,
      inputStride: workspace.strides.hidden,
      output: workspace.logits,
      outputStride: workspace.strides.logits,
      rows: which.rows,
    }),
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

/** Norm, projections to queries, keys and values, rotation, and the write into the cache. */
function attentionInputStep(state: ForwardState, step: StepShape, layer: number): Command[] {
  const { config, workspace } = state;
  const weights = state.weights.layers[layer]!;
  const { keys, values, write } = state.cache.layers[layer]!;
  const rows = step.sequences * step.rowsPerSequence;
  return [
    normStep(state, weights.attentionNorm, rows),
    ...linearStep(state, weights.queryKeyValue, {
      input: workspace.normed,
      inputStride: workspace.strides.hidden,
      output: workspace.queryKeyValue,
      outputStride: workspace.strides.queryKeyValue,
      rows,
    }),
    ropeCacheCommand({
      state: workspace.state,
      rotation: layerRotation(state, layer),
      ...(weights.queryNorm && { q_norm: weights.queryNorm }),
      ...(weights.keyNorm && { k_norm: weights.keyNorm }),
      qkv: workspace.queryKeyValue,
      keys,
      values,
    }, {
      ...attentionShape(state, step, layer),
      epsilon: config.normEpsilon * usedShare(config),
      ...(write && { write }),
    }),
  ];
}

function attentionStep(
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
  const { workspace, config } = state;
  const { strides } = workspace;
  const weights = state.weights.layers[layer]!;
  return [
    normStep(state, weights.mlpNorm, rows),
    ...linearStep(state, weights.gateUp, {
      input: workspace.normed,
      inputStride: strides.hidden,
      output: workspace.gateUp,
      outputStride: strides.gateUp,
      rows,
    }),
    siluMultiplyCommand({ input: workspace.gateUp, output: workspace.mlp }, {
      rows,
      columns: config.mlp,
      inputStride: strides.gateUp,
      upOffset: upOffset(config),
      outputStride: strides.mlp,
    }),
    ...linearStep(state, weights.down, {
      input: workspace.mlp,
      inputStride: strides.mlp,
      output: workspace.hidden,
      outputStride: strides.hidden,
      rows,
      accumulate: true,
    }),
  ];
}

function normStep(state: ForwardState, weight: DeviceBuffer, rows: number): Command {
  const { hidden, normed } = state.workspace;
  return rmsNormCommand({ input: hidden, weight, output: normed }, normShape(state, rows));
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

/** Dispatches of projections that read the same rows. */
function linearStep(
  { device }: ForwardState,
  projections: readonly Projection[],
  rows: Omit<LinearStep, keyof Projection>,
): Command[] {
  return projections.flatMap((projection) =>
    linearCommands(device.info, { ...rows, ...projection })
  );
}
