/**
 * Safetensors files, one or several shards, read in ranges.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { DataError } from "../../core/check.ts";
import { openRangedFile, type RangedFile, readTextIfThere } from "../files/ranged_file.ts";
import { parseSafetensorsHeader, type StoredTensor } from "./safetensors_header.ts";
import { rowRange, type TensorInfo, type TensorSource } from "../weights/tensor_source.ts";

/** Open safetensors files of one model. */
export interface SafetensorsFiles extends TensorSource {
  /** The files, with the bytes before their data. */
  readonly shards: readonly SafetensorsShard[];
}

/** One open file. */
export interface SafetensorsShard {
  /** The file itself. */
  readonly file: RangedFile;
  /** Bytes before the data. */
  readonly headerBytes: number;
}

interface OpenShard extends SafetensorsShard {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Largest header: reference code allows 100 MB, whose parsing could take over 256 MB of memory. */
const MAX_HEADER_BYTES = 16 * 2 ** 20;
const MAX_INDEX_BYTES = 4 * 2 ** 20;

/**
 * Opens one safetensors file, or the shards that an index names.
 *
 * @param location Path or address of a `.safetensors` file or of a `.safetensors.index.json`.
 * @returns The open files; close them by disposing them.
 * @throws {DataError} If a file is missing or damaged, or has tensors of an unknown type.
 */
export async function openSafetensors(location: string): Promise<SafetensorsFiles> {
  await using opened = new AsyncDisposableStack();
  const index = location.endsWith(".json") ? await readIndex(location) : undefined;
  const folder = location.slice(0, location.lastIndexOf("/") + 1);
  const locations = index === undefined
    ? [location]
    : [...new Set(index.values())].map((name) => folder + name);
  const shards: OpenShard[] = [];
  for (const place of locations) {
    const file = opened.use(await openRangedFile(place));
    shards.push(await readShard(file));
  }
  const owners = mergeShards(shards);
  for (const [name, shard] of index ?? []) {
    if (owners.get(name)?.file.location === folder + shard) continue;
    throw new DataError(`Cannot read ${location}: tensor "${name}" must lie in ${shard}`);
  }
  return makeSource(location, { shards, owners, owned: opened.move() });
}

/**
 * Files that an index names.
 *
 * @param location Path or address of a `.safetensors.index.json`.
 * @returns Names of files beside it, each once.
 * @throws {DataError} If it is missing or malformed.
 */
export async function readShardNames(location: string): Promise<readonly string[]> {
  return [...new Set((await readIndex(location)).values())];
}

async function readIndex(location: string): Promise<ReadonlyMap<string, string>> {
  const text = await readTextIfThere(location, MAX_INDEX_BYTES);
  if (text === undefined) throw new DataError(`Cannot read ${location}: the file must exist`);
  let map: unknown;
  try {
    map = JSON.parse(text)?.weight_map;
  } catch (cause) {
    throw new DataError(`Cannot read ${location}: it must be JSON: ${cause}`, { cause });
  }
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new DataError(`Cannot read ${location}: weight_map must be an object`);
  }
  const entries = Object.entries(map);
  for (const [name, shard] of entries) {
    if (typeof shard === "string" && /^[^/\\]+\.safetensors$/.test(shard)) continue;
    throw new DataError(
      `Cannot read ${location}: weight_map must name .safetensors files beside it: current value of "${name}" is ${
        JSON.stringify(shard)
      }`,
    );
  }
  return new Map(entries);
}

async function readShard(file: RangedFile): Promise<OpenShard> {
  if (file.byteLength < 8) {
    throw failure(file, "the file must have at least 8 bytes", file.byteLength);
  }
  const prefix = await file.read(0, 8);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  const max = Math.min(MAX_HEADER_BYTES, file.byteLength - 8);
  if (length < 2n || length > BigInt(max)) {
    throw failure(file, `the header length must be from 2 to ${max}`, String(length));
  }
  const headerBytes = 8 + Number(length);
  const bytes = await file.read(8, Number(length));
  const tensors = parseSafetensorsHeader(bytes, {
    location: file.location,
    dataBytes: file.byteLength - headerBytes,
  });
  return { file, headerBytes, tensors };
}

function mergeShards(shards: readonly OpenShard[]): ReadonlyMap<string, OpenShard> {
  const owners = new Map<string, OpenShard>();
  for (const shard of shards) {
    for (const name of shard.tensors.keys()) {
      const other = owners.get(name);
      if (other !== undefined) {
        throw failure(
          shard.file,
          `tensor "${name}" must lie in one file only`,
          `also in ${other.file.location}`,
        );
      }
      owners.set(name, shard);
    }
  }
  return owners;
}

function makeSource(
  description: string,
  { shards, owners, owned }: {
    readonly shards: readonly OpenShard[];
    readonly owners: ReadonlyMap<string, OpenShard>;
    readonly owned: AsyncDisposableStack;
  },
): SafetensorsFiles {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shard] of owners) tensors.set(name, shard.tensors.get(name)!.info);
  const source = { description, tensors };
  return {
    ...source,
    shards,
    async readRows(name, first, count) {
      const range = rowRange(source, name, { first, count });
      const { file, headerBytes, tensors: stored } = owners.get(name)!;
      const offset = headerBytes + stored.get(name)!.byteOffset + range.byteOffset;
      return await file.read(offset, range.byteLength);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function failure(file: RangedFile, requirement: string, current: string | number): DataError {
  return new DataError(`Cannot read ${file.location}: ${requirement}: current value is ${current}`);
}
