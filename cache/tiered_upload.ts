/**
 * Uploads head vectors from the host into slots, with one write per step or per full buffer.
 *
 * @module
 */

import type { Device, DeviceBuffer, Recording } from "../gpu/device.ts";
import { loadRowsCommand, UPLOAD_ENTRY_WORDS } from "../kernels/load_rows.ts";
import type { LayerCache } from "./full_cache.ts";
import type { HostRow } from "./host_copy.ts";

/** Pools and buffer of an uploader. */
interface UploaderOptions {
  /** Pools, one entry per layer. */
  readonly layers: readonly LayerCache[];
  /** Elements of a head vector. */
  readonly headDim: number;
  /** Buffer that carries the records. */
  readonly buffer: DeviceBuffer;
}

/** A head vector to upload. */
interface TargetRow {
  /** Row in the pool. */
  readonly row: number;
  /** Its content. */
  readonly source: HostRow;
}

/** Rows to upload to a layer's pools; keys and values have separate records. */
export interface LayerLoads {
  /** Target row and content of each key. */
  readonly keys: TargetRow[];
  /** Target row and content of each value. */
  readonly values: TargetRow[];
}

/** Collects rows, layer by layer, keys before values, and sends them. */
export class RowUploader implements Disposable {
  readonly #device: Device;
  readonly #buffer: DeviceBuffer;
  readonly #recordings: readonly Recording[];
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #rowWords: number;
  readonly #room: number;
  readonly #used = new Set<number>();
  #records = 0;

  private constructor(device: Device, options: UploaderOptions, recordings: readonly Recording[]) {
    this.#device = device;
    this.#buffer = options.buffer;
    this.#recordings = recordings;
    this.#words = new Uint32Array(options.buffer.byteLength / 4);
    this.#rowWords = options.headDim / 2;
    this.#room = Math.floor(
      (this.#words.length - UPLOAD_ENTRY_WORDS * recordings.length) / (1 + this.#rowWords),
    );
  }

  /**
   * Records the loads of every layer.
   *
   * @param device Where the pools live.
   * @param options Pools and sizes.
   * @returns The uploader.
   */
  static async create(device: Device, options: UploaderOptions): Promise<RowUploader> {
    using stack = new DisposableStack();
    const recordings: Recording[] = [];
    const { layers, headDim, buffer } = options;
    for (const [layer, { keys, values }] of layers.entries()) {
      const shape = { layer, layers: layers.length, headDim };
      const command = loadRowsCommand({ upload: buffer, keys, values }, shape);
      recordings.push(stack.use(await device.record(`loads of layer ${layer}`, [command])));
    }
    stack.move();
    return new RowUploader(device, options, recordings);
  }

  /**
   * Adds the rows of a layer.
   *
   * @param layer Layer, from 0.
   * @param rows Its keys and values.
   */
  add(layer: number, rows: LayerLoads): void {
    this.#begin(layer);
    for (const row of rows.keys) this.#push(layer, 1, row);
    for (const row of rows.values) this.#push(layer, 2, row);
  }

  /** Sends what was added. */
  flush(): void {
    if (this.#records > 0) {
      const words = UPLOAD_ENTRY_WORDS * this.#recordings.length +
        this.#records * (1 + this.#rowWords);
      this.#device.write(this.#buffer, 0, this.#words.subarray(0, words));
      this.#device.submit(...[...this.#used].map((layer) => this.#recordings[layer]!));
    }
    this.#used.clear();
    this.#records = 0;
  }

  /** Frees the recordings; buffers belong to the caller. */
  [Symbol.dispose](): void {
    for (const recording of this.#recordings) recording[Symbol.dispose]();
  }

  #begin(layer: number): void {
    const entry = UPLOAD_ENTRY_WORDS * layer;
    this.#words[entry] = this.#records;
    this.#words.fill(0, entry + 1, entry + UPLOAD_ENTRY_WORDS);
  }

  /** Adds a record to the keys (1) or values (2) of a layer. */
  #push(layer: number, kind: 1 | 2, { row, source }: TargetRow): void {
    if (this.#records === this.#room) {
      this.flush();
      this.#begin(layer);
    }
    this.#used.add(layer);
    this.#words[UPLOAD_ENTRY_WORDS * layer + kind]! += 1;
    const first = UPLOAD_ENTRY_WORDS * this.#recordings.length +
      this.#records * (1 + this.#rowWords);
    this.#words[first] = row;
    const { words, start } = source;
    this.#words.set(words.subarray(start, start + this.#rowWords), first + 1);
    this.#records += 1;
  }
}

/**
 * Smallest buffer that an uploader works with.
 *
 * @param layers Layers of the model.
 * @param headDim Elements of a head vector.
 * @returns Bytes for the entries and one record.
 */
export function minUploadBytes(layers: number, headDim: number): number {
  return 4 * (UPLOAD_ENTRY_WORDS * layers + 1 + headDim / 2);
}
