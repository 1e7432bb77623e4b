/**
 * Moves a prefilled cache to the host and makes the pools that replace it.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import type { BufferCopy, Device, DeviceBuffer, Recording } from "../gpu/device.ts";
import { type CacheShape, type FullCache, layerBytes, type LayerCache } from "./full_cache.ts";
import { HostCopy } from "./host_copy.ts";
import type { PoolSize } from "./slot_change.ts";
import { minUploadBytes, RowUploader } from "./tiered_upload.ts";

/** Cache, sizes and rules of a tiered store. */
export interface TieredStoreOptions {
  /** Cache after the prefill; its layers are freed one by one. */
  readonly fullCache: FullCache;
  /** Tokens of each sequence in it. */
  readonly lengths: readonly number[];
  /** Slots per KV head of a layer. */
  readonly pools: (layer: number) => PoolSize;
  /** Whether tokens that leave the device are dropped for good (policies with candidates "kept"). */
  readonly isPermanent: boolean;
  /** Most tokens that a plan may hold at a length; the pools if left out. */
  readonly limit?: (layer: number, tokens: number) => PoolSize;
  /** Bytes of the buffer that carries loads; a quarter of a layer, at most 4 MiB, if left out. */
  readonly uploadBytes?: number;
}

/** Largest upload buffer if no size is given. */
const MAX_UPLOAD_BYTES = 4 * 2 ** 20;

/** Buffers and recordings of a store. */
export interface TieredParts {
  /** Pools, one entry per layer. */
  readonly layers: readonly LayerCache[];
  /** Slots per KV head, one entry per layer. */
  readonly pools: readonly PoolSize[];
  /** Every token. */
  readonly host: HostCopy;
  /** Carries loads. */
  readonly uploader: RowUploader;
  /** Contents of the landing slots, packed halves [layers, keys and values, sequences, kvHeads, headDim / 2]. */
  readonly landing: DeviceBuffer;
  /** Copies the landing slots into `landing`. */
  readonly collect: Recording;
  /** Frees all of it. */
  readonly owned: DisposableStack;
}

/**
 * Moves a cache layer by layer, so that the device never holds more than the full cache and one layer.
 *
 * @param device Where the cache lives.
 * @param options Cache, lengths, pools.
 * @returns Host copy, pools, and what moves tokens between them; the full cache is freed.
 * @throws {RequirementError} If the pools are not possible.
 * @throws {GpuError} If there is too little memory for the transfer buffers; the full cache is then unchanged.
 */
export async function createParts(
  device: Device,
  options: TieredStoreOptions,
): Promise<TieredParts> {
  const { fullCache, lengths } = options;
  const { shape } = fullCache;
  const pools = checkOptions(device, options);
  using stack = new DisposableStack();
  const landingBytes = 4 * shape.layers * shape.sequences * shape.kvHeads * shape.headDim;
  const buffer = stack.use(device.createBuffer("loads of a step", uploadSize(options)));
  const landing = stack.use(device.createBuffer("newest keys and values", landingBytes));
  const host = new HostCopy(shape, lengths);
  const layers: LayerCache[] = [];
  for (const [layer, { keys, values }] of fullCache.layers.entries()) {
    host.setLayer(layer, {
      keys: await readWords(device, keys),
      values: await readWords(device, values),
    });
    fullCache.releaseLayer(layer);
    const rows = poolBytes(shape, pools[layer]!);
    layers.push({
      keys: stack.use(device.createBuffer(`key slots of layer ${layer}`, rows.keys)),
      values: stack.use(device.createBuffer(`value slots of layer ${layer}`, rows.values)),
    });
  }
  const { headDim } = shape;
  const uploader = stack.use(await RowUploader.create(device, { layers, headDim, buffer }));
  const copies = landingCopies(shape, { layers, pools, landing });
  const collect = stack.use(await device.record("newest keys and values", copies));
  return { layers, pools, host, uploader, landing, collect, owned: stack.move() };
}

/** Reads a buffer in pieces of a power of two, which a readback does not round up. */
async function readWords(device: Device, buffer: DeviceBuffer): Promise<Uint32Array<ArrayBuffer>> {
  const { byteLength } = buffer;
  const piece = 2 ** Math.floor(Math.log2(byteLength));
  const words = new Uint32Array(byteLength / 4);
  for (let start = 0; start < byteLength; start += piece) {
    const part = await device.read(buffer, start, Math.min(piece, byteLength - start));
    words.set(new Uint32Array(part), start / 4);
  }
  return words;
}

/** Copies of every landing slot, in the order of `TieredParts.landing`. */
function landingCopies(
  { sequences, kvHeads, headDim }: CacheShape,
  { layers, pools, landing }: Pick<TieredParts, "layers" | "pools" | "landing">,
): BufferCopy[] {
  const byteLength = 2 * headDim;
  const heads = Array.from({ length: sequences * kvHeads }, (_, head) => head);
  return layers.flatMap(({ keys, values }, layer) =>
    [keys, values].flatMap((source, kind) =>
      heads.map((head) => ({
        source,
        sourceOffset: byteLength * head * pools[layer]!.full,
        target: landing,
        targetOffset: byteLength * ((2 * layer + kind) * heads.length + head),
        byteLength,
      }))
    )
  );
}

function uploadSize({ fullCache: { shape }, uploadBytes }: TieredStoreOptions): number {
  const smallest = minUploadBytes(shape.layers, shape.headDim);
  if (uploadBytes !== undefined) {
    checkInteger("create a tiered store", "uploadBytes", { value: uploadBytes, min: smallest });
    return uploadBytes;
  }
  const bytes = Array.from({ length: shape.layers }, (_, layer) => layerBytes(shape, layer));
  const quarter = Math.floor(Math.max(...bytes) / 4);
  return Math.max(smallest, Math.min(MAX_UPLOAD_BYTES, quarter));
}

function checkOptions(device: Device, options: TieredStoreOptions): PoolSize[] {
  const { fullCache: { shape }, lengths, pools } = options;
  const action = "create a tiered store";
  checkLength(action, "lengths", { required: shape.sequences, current: lengths.length });
  for (const length of lengths) {
    checkInteger(action, "length of a sequence", { value: length, min: 0, max: shape.capacity });
  }
  const other = [shape.keyFormat, shape.valueFormat].find((one) => one && one !== "f16");
  if (other) {
    const requirement = "keys and values must be stored as f16";
    throw new RequirementError({ action, requirement, current: other });
  }
  return Array.from({ length: shape.layers }, (_, layer) => {
    const { full, valueOnly } = pools(layer);
    const name = `slots of layer ${layer}`;
    checkInteger(action, `full ${name}`, { value: full, min: 1, max: shape.capacity });
    const max = shape.capacity;
    checkInteger(action, `value-only ${name}`, { value: valueOnly, min: 0, max });
    const value = poolBytes(shape, { full, valueOnly }).values;
    checkInteger(action, `bytes of ${name}`, { value, max: device.info.maxBindingBytes });
    return { full, valueOnly };
  });
}

function poolBytes(
  { sequences, kvHeads, headDim }: CacheShape,
  { full, valueOnly }: PoolSize,
): { readonly keys: number; readonly values: number } {
  const slotBytes = 2 * headDim * sequences * kvHeads;
  return { keys: slotBytes * full, values: slotBytes * (full + valueOnly) };
}
