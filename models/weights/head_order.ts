/**
 * Order of the rows within attention heads.
 *
 * GGUF files of the Llama family rotate neighbouring elements (0, 1), (2, 3)...; Hugging Face's rotate element i with
 * i + headDim / 2. The converter therefore moved rows 2 i and 2 i + 1 of the file from i and i + headDim / 2.
 *
 * @module
 */

import { rowRange, type TensorInfo, type TensorSource } from "./tensor_source.ts";

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
