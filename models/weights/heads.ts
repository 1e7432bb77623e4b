/**
 * Heads as the kernels expect them, whatever order and size files keep them in.
 *
 * GGUF files of the Llama family rotate neighboring elements (0, 1), (2, 3)...; Hugging Face's rotate element i with
 * i + headDim / 2. The converter therefore moved rows 2 i and 2 i + 1 of the file from i and i + headDim / 2.
 *
 * Kernels read eight elements at a time. A head of d elements becomes one of the next multiple of 8: zeros change no
 * dot product, each half of a rotated head is widened separately, and the constants that depend on d (the softmax
 * scale, rotary frequencies, norms of heads) keep using d.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { ModelConfig } from "../config.ts";
import {
  rowRange,
  rowsOf,
  TENSOR_TYPES,
  tensorBytes,
  type TensorInfo,
  type TensorSource,
} from "./tensor_source.ts";

const ROTATED = /\.self_attn\.[qk]_proj\.(weight|bias)$/;

/**
 * Wraps a source so that query and key projections come in Hugging Face's order.
 *
 * @param source Tensors whose heads hold adjacent pairs.
 * @param headDim Elements of a head; even.
 * @returns The same tensors; only the order of rows (of elements for biases) of `q_proj` and `k_proj` differs.
 */
export function withSplitHeads(source: TensorSource, headDim: number): TensorSource {
  const { description, tensors } = source;
  return {
    description,
    tensors,
    async readRows(name, first, count) {
      const { info } = rowRange(source, name, { first, count });
      if (!ROTATED.test(name) || count === 0) return await source.readRows(name, first, count);
      const [length] = info.shape as [number];
      const unitBytes = info.byteLength / length;
      if (info.shape.length === 1) {
        const bias = await source.readRows(name, 0, 1);
        return splitHeads(bias, { headDim, unitBytes, first: 0, count: length });
      }
      const begin = Math.floor(first / headDim) * headDim;
      const end = Math.min(length, Math.ceil((first + count) / headDim) * headDim);
      const heads = await source.readRows(name, begin, end - begin);
      return splitHeads(heads, { headDim, unitBytes, first: first - begin, count });
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** Picks rows or elements `first` to `first + count` of the target order from whole heads in file order. */
function splitHeads(
  heads: Uint8Array<ArrayBuffer>,
  options: {
    readonly headDim: number;
    readonly unitBytes: number;
    readonly first: number;
    readonly count: number;
  },
): Uint8Array<ArrayBuffer> {
  const { headDim, unitBytes, first, count } = options;
  const result = new Uint8Array(count * unitBytes);
  const half = headDim / 2;
  for (let unit = 0; unit < count; unit++) {
    const inHead = (first + unit) % headDim;
    const from = first + unit - inHead + 2 * (inHead % half) + Math.floor(inHead / half);
    result.set(heads.subarray(from * unitBytes, (from + 1) * unitBytes), unit * unitBytes);
  }
  return result;
}

/** A model whose heads fit the kernels. */
export interface PaddedModel {
  /** Sizes after widening. */
  readonly config: ModelConfig;
  /** Weights after widening. */
  readonly source: TensorSource;
}

/**
 * Widens heads to a multiple of 8 elements; models that need no widening come back as they are.
 *
 * @param model Sizes and weights in Hugging Face's order.
 * @throws {DataError} If weights that would have to be widened are stored in blocks.
 */
export function padHeads(model: PaddedModel): PaddedModel {
  const { config, source } = model;
  const from = config.headDim;
  const to = 8 * Math.ceil(from / 8);
  if (to === from) return model;
  const { description } = source;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of source.tensors) tensors.set(name, widenInfo(info, { from, to }));
  return {
    config: { ...config, headDim: to, fileHeadDim: from },
    source: {
      description,
      tensors,
      async readRows(name, first, count) {
        const kind = kindOf(name);
        if (kind === undefined) return await source.readRows(name, first, count);
        const { byteOffset, byteLength } = rowRange(this, name, { first, count });
        const info = source.tensors.get(name)!;
        const whole = await source.readRows(name, 0, rowsOf(info));
        return widen(whole, { info, kind, from, to }).slice(byteOffset, byteOffset + byteLength);
      },
      [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    },
  };
}

interface Widening {
  /** Elements of a head in the file. */
  readonly from: number;
  /** Elements of a head on the device. */
  readonly to: number;
}

/** How a tensor depends on heads: rotated rows, plain rows, or columns. */
type Kind = "rotated" | "plain" | "columns" | "norm";

function kindOf(name: string): Kind | undefined {
  if (ROTATED.test(name)) return "rotated";
  if (/\.self_attn\.v_proj\.(weight|bias)$/.test(name)) return "plain";
  if (/\.self_attn\.o_proj\.weight$/.test(name)) return "columns";
  return /\.self_attn\.[qk]_norm\.weight$/.test(name) ? "norm" : undefined;
}

function widenInfo(info: TensorInfo, { from, to }: Widening): TensorInfo {
  const kind = kindOf(info.name);
  if (kind === undefined) return info;
  if (TENSOR_TYPES[info.type]!.elements > 1) {
    throw new DataError(
      `Cannot load tensor "${info.name}": heads of quantized weights must have a multiple of 8 elements: current value is ${from}`,
    );
  }
  const axis = kind === "columns" ? 1 : 0;
  const shape = info.shape.map((length, index) => index === axis ? length / from * to : length);
  return { ...info, shape, byteLength: tensorBytes(info.type, shape) };
}

/** Moves elements (or whole rows) to their places in wider heads; added elements stay zero. */
function widen(
  bytes: Uint8Array<ArrayBuffer>,
  options: Widening & { readonly info: TensorInfo; readonly kind: Kind },
): Uint8Array<ArrayBuffer> {
  const { info, kind, from, to } = options;
  const elementBytes = TENSOR_TYPES[info.type]!.bytes;
  const unit = kind === "columns" || info.shape.length === 1
    ? elementBytes
    : elementBytes * info.shape[1]!;
  const units = bytes.length / unit;
  const result = new Uint8Array(units / from * to * unit);
  const isRotated = kind === "rotated" || kind === "norm";
  for (let index = 0; index < units; index++) {
    const inHead = index % from;
    const shift = isRotated && inHead >= from / 2 ? (to - from) / 2 : 0;
    const target = (index - inHead) / from * to + inHead + shift;
    result.set(bytes.subarray(index * unit, (index + 1) * unit), target * unit);
  }
  return result;
}
