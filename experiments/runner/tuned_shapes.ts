/**
 * Shapes of kernels that were timed on this machine: the file that `deno task tune` writes, and the option that names it.
 *
 * Nothing reads the file unless `--shapes` asks for it, since another tile adds in another order: results would depend
 * on a file that nobody named. A file is refused where adapter, runtime or kernels are not those that were timed.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import { dirname } from "node:path";
import { ensureFolder, writeFileAtomic } from "../../core/atomic_file.ts";
import { sha256 } from "../../core/hash.ts";
import type { Backend, ShapeChoice } from "../../gpu/device.ts";
import { type AdapterSummary, adapterSummary } from "../../gpu/open_device.ts";
import { attentionTileName } from "../../kernels/attention_tile.ts";
import { flashAttentionSamples } from "../../kernels/flash_attention.ts";
import { matmulSamples } from "../../kernels/matmul.ts";
import { selectedAttentionSamples } from "../../kernels/selected_attention.ts";
import { MATMUL_TILES, SHAPES } from "../../kernels/shapes.ts";
import { tileName } from "../../kernels/matmul_tile.ts";

/** What was timed: whoever has another one must time again. */
export interface TuningKey {
  /** Adapter as the driver prints it. */
  readonly adapter: string;
  /** Driver and version; `unknown` where they cannot be known. */
  readonly driver: string;
  /** What runs the kernels, with its version. */
  readonly runtime: string;
  /** Hash of the texts of all products and of attention. */
  readonly kernels: string;
}

const KEY_FIELDS = ["adapter", "driver", "runtime", "kernels"] as const;

/** The file of `deno task tune`. */
export interface TunedShapes extends TuningKey {
  /** Kind of the table whose tiles were timed. */
  readonly kind: string;
  /** The fastest tile by what it multiplies; see `productBucket`. */
  readonly products: Readonly<Record<string, string>>;
  /** The fastest tile by what attention computes; see `attentionBucket`. */
  readonly attention: Readonly<Record<string, string>>;
  /** Milliseconds of every tile that was timed, by what it computed. */
  readonly milliseconds: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** Values of `--shapes` that name no file. */
export const SHAPE_WORDS: readonly string[] = ["auto", "tuned", ...SHAPES.map(({ kind }) => kind)];

/** Variables that say where caches are. */
export const CACHE_VARIABLES: readonly string[] = ["XDG_CACHE_HOME", "HOME", "USERPROFILE"];

/**
 * Says what the shapes of this machine depend on.
 *
 * @param adapter The adapter, or a device on it.
 * @returns The key of its file.
 */
export function tuningKey(
  { description, driver = "unknown" }: Pick<AdapterSummary, "description" | "driver">,
): TuningKey {
  const samples = [...matmulSamples(), ...flashAttentionSamples(), ...selectedAttentionSamples()];
  const texts = samples.map(({ name, wgsl }) => `${name}\n${wgsl}`);
  return {
    adapter: description,
    driver,
    runtime: `Deno ${Deno.version.deno}`,
    kernels: sha256(texts.join("\n")).slice(0, 16),
  };
}

/**
 * Folder of the files of `deno task tune`.
 *
 * @param env The environment.
 * @throws {DataError} If it names no folder for caches.
 */
export function tunedFolder(env: Pick<Deno.Env, "get">): string {
  const home = env.get("HOME") || env.get("USERPROFILE");
  const cache = env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (cache) return `${cache}/smallkv/tuned`;
  throw new DataError(
    "Cannot find tuned shapes: HOME or XDG_CACHE_HOME must name a folder: current value is none",
  );
}

/**
 * File of this machine's shapes.
 *
 * @param key What they depend on.
 */
export function tunedPath(key: TuningKey): string {
  const name = sha256(KEY_FIELDS.map((field) => key[field]).join("\n")).slice(0, 16);
  return `${tunedFolder(Deno.env)}/${name}.json`;
}

/**
 * Writes tuned shapes.
 *
 * @param path Where to.
 */
export async function writeTuned(path: string, shapes: TunedShapes): Promise<void> {
  await ensureFolder(dirname(path));
  await writeFileAtomic(path, `${JSON.stringify(shapes, null, 2)}\n`);
}

/**
 * Reads what `--shapes` asks for.
 *
 * @param value `auto`, `tuned`, a kind of the table, or a file of `deno task tune`.
 * @param backend Where the kernels run; Deno's WebGPU, which is what `deno task tune` times, if left out.
 * @returns Which shapes kernels take; undefined for those of the table.
 * @throws {RequirementError} If tuned shapes are asked for where there is no adapter that they are of.
 * @throws {DataError} If the file is missing or damaged, or of another adapter, driver, runtime or version of the kernels.
 */
export async function readShapes(
  value: string,
  backend: Backend | "auto" = "webgpu",
): Promise<ShapeChoice | undefined> {
  if (value === "auto") return undefined;
  if (value !== "tuned" && SHAPE_WORDS.includes(value)) return { kind: value };
  if (backend === "dawn") {
    throw new RequirementError({
      action: `use shapes of ${value}`,
      requirement: "the device must be webgpu, on which deno task tune times them",
      current: backend,
    });
  }
  const adapter = await adapterSummary();
  if (adapter === undefined) {
    throw new RequirementError({
      action: `use shapes of ${value}`,
      requirement: "there must be a WebGPU adapter",
      current: "none",
    });
  }
  const key = tuningKey(adapter);
  const path = value === "tuned" ? tunedPath(key) : value;
  const { kind, products, attention, ...found } = await readTuned(path);
  for (const name of KEY_FIELDS) {
    if (found[name] === key[name]) continue;
    throw new DataError(
      `Cannot use shapes of ${path}: ${name} must be ${
        key[name]
      }, or run deno task tune: current value is ${found[name]}`,
    );
  }
  return { kind, products, attention };
}

async function readTuned(path: string): Promise<TunedShapes> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound ? "no such file" : String(cause);
    throw new DataError(
      `Cannot read shapes of ${path}: deno task tune must have written it: current value is ${why}`,
      { cause },
    );
  }
  const found = parseTuned(text);
  if (found !== undefined) return found;
  throw new DataError(
    `Cannot read shapes of ${path}: it must be a file of deno task tune: current value is ${
      JSON.stringify(text.slice(0, 40))
    }`,
  );
}

function parseTuned(text: string): TunedShapes | undefined {
  let value: Partial<TunedShapes> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, products, attention } = value;
  const key: Partial<TuningKey> = value;
  const isText = KEY_FIELDS.every((field) => typeof key[field] === "string");
  const isKind = SHAPES.some((shapes) => shapes.kind === kind);
  const heads = SHAPES.flatMap(({ attentionTiles }) => attentionTiles.map(attentionTileName));
  const isTiles = areNamed(products, MATMUL_TILES.map(tileName)) && areNamed(attention, heads);
  return isText && isKind && isTiles ? value as TunedShapes : undefined;
}

/** Whether a value names one of the tiles for everything that it holds. */
function areNamed(value: unknown, tiles: readonly string[]): boolean {
  return typeof value === "object" && value !== null &&
    Object.values(value).every((tile) => tiles.includes(tile));
}
