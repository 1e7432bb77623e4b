/**
 * Heads as the kernels want them, whatever the order and the size that files keep them in.
 *
 * GGUF files of the Llama family rotate neighboring elements (0, 1), (2, 3)...; Hugging Face's rotate element i with
 * i + headDim / 2. The converter therefore moved rows 2 i and 2 i + 1 of the file from i and i + headDim / 2.
 *
 * Kernels read eight elements at a time. A head of d elements becomes one of the next multiple of 8: zeros change no
 * dot product, each half of a rotated head is widened for itself, and the constants that depend on d (the softmax
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

/** Sizes that say which rows belong together. */
export interface HeadSizes {
  /** Elements of a head; even. */
  readonly headDim: number;
}

/**
 * Wraps a source so that query and key projections come in Hugging Face's order.
 *
 * @param source Tensors whose heads hold pairs side by side.
 * @param sizes Head size.
 * @returns The same tensors; only the order of rows (of elements for biases) of `q_proj` and `k_proj` differs.
 */
export function withSplitHeads(source: TensorSource, { headDim }: HeadSizes): TensorSource {
  const readRows: TensorSource["readRows"] = async (name, first, count) => {
    const isMoved = /\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name);
    const { info } = rowRange(source, name, { first, count });
    if (!isMoved || count === 0) return await source.readRows(name, first, count);
    if (info.shape.length === 1) {
      const bytes = await source.readRows(name, first, count);
      return reorder(bytes, {
        headDim,
        rowBytes: info.byteLength / info.shape[0]!,
        first: 0,
        count: info.shape[0]!,
      });
    }
    return await readMoved(source, info, { headDim, first, count });
  };
  return {
    description: source.description,
    tensors: source.tensors,
    readRows,
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

interface MovedRows {
  readonly headDim: number;
  readonly first: number;
  readonly count: number;
}

async function readMoved(
  source: TensorSource,
  info: TensorInfo,
  { headDim, first, count }: MovedRows,
): Promise<Uint8Array<ArrayBuffer>> {
  const rows = info.shape[0]!;
  const begin = Math.floor(first / headDim) * headDim;
  const end = Math.min(rows, Math.ceil((first + count) / headDim) * headDim);
  const heads = await source.readRows(info.name, begin, end - begin);
  const rowBytes = info.byteLength / rows;
  return reorder(heads, { headDim, rowBytes, first: first - begin, count });
}

/** Picks rows `first` to `first + count` of the wanted order out of whole heads in file order. */
function reorder(
  heads: Uint8Array<ArrayBuffer>,
  { headDim, rowBytes, first, count }: MovedRows & { readonly rowBytes: number },
): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(count * rowBytes);
  const half = headDim / 2;
  for (let row = 0; row < count; row++) {
    const inHead = (first + row) % headDim;
    const head = first + row - inHead;
    const from = head + 2 * (inHead % half) + Math.floor(inHead / half);
    result.set(heads.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
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
 * @returns The model to run.
 * @throws {DataError} If weights that would have to be widened are stored in blocks.
 */
export function padHeads(model: PaddedModel): PaddedModel {
  const { config, source } = model;
  const padded = 8 * Math.ceil(config.headDim / 8);
  if (padded === config.headDim) return model;
  const widening: Widening = { from: config.headDim, to: padded };
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of source.tensors) tensors.set(name, widenInfo(info, widening));
  return {
    config: {
      ...config,
      headDim: padded,
      fileHeadDim: config.headDim,
    },
    source: {
      description: source.description,
      tensors,
      async readRows(name, first, count) {
        const kind = kindOf(name);
        if (kind === undefined) return await source.readRows(name, first, count);
        rowRange({ description: source.description, tensors }, name, { first, count });
        const whole = await readWhole(source, name);
        const bytes = widen(whole, { info: source.tensors.get(name)!, kind, ...widening });
        const rows = rowCount(tensors.get(name)!);
        const rowBytes = bytes.length / rows;
        return bytes.slice(first * rowBytes, (first + count) * rowBytes);
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

/** Which way a tensor depends on heads: rotated rows, plain rows, or columns. */
type Kind = "rotated" | "plain" | "columns" | "norm";

function kindOf(name: string): Kind | undefined {
  if (/\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name)) return "rotated";
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

function rowCount(info: TensorInfo): number {
  return info.shape.length === 1 ? 1 : info.shape[0]!;
}

async function readWhole(source: TensorSource, name: string): Promise<Uint8Array<ArrayBuffer>> {
  return await source.readRows(name, 0, rowCount(source.tensors.get(name)!));
}

/** Moves elements (or whole rows) to their places in wider heads; what is new stays zero. */
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
