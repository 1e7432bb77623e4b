/**
 * The one table of the shapes that kernels take: tiles of matrix products, the layout of attention, and how rows
 * are normalized and tokens chosen, per kind of adapter.
 *
 * What an adapter can do decides its kind, never its name. Software adapters run a workgroup lane by lane on a few cores, so
 * that few threads with many registers win; a GPU hides the latency of memory by threads, tens of thousands of them,
 * whose registers are few. Both tables are measured or reasoned defaults; `deno task tune` replaces tiles by those
 * that are fastest on the machine's own adapter.
 *
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import { askedActivationBits, type DeviceInfo } from "../gpu/device.ts";
import {
  matmulGrid,
  type MatmulTile,
  type ProductClass,
  type RoundedActivations,
  splitTile as split,
  tiledTile as tiled,
  tileName,
  workgroupBytes,
} from "./matmul_tile.ts";
import {
  MATRIX_ROWS,
  MATRIX_SAMPLES,
  MATRIX_SHARE,
  matrixTiles,
  ROUNDED_PRODUCTS,
} from "./rounded_shapes.ts";
import type { WeightFormat } from "./weights/format.ts";
import { WEIGHT_FORMATS } from "./weights/mod.ts";

/** What a device says that decides its kind. */
export type AdapterFeatures =
  & Pick<DeviceInfo, "subgroupSize" | "shapes" | "subgroupMatrices">
  & Partial<
    Pick<
      DeviceInfo,
      "backend" | "activationBits" | "isSoftware" | "maxWorkgroupBytes" | "maxWorkgroupThreads"
    >
  >;

/** How attention that shares its rows in workgroup memory works on its keys. */
export interface AttentionTile {
  /** Lanes of a workgroup: as many keys meet eight query rows together, and an eighth of them share a row's softmax. */
  readonly lanes: number;
  /** Keys of the shortest split of a decode step's keys; fewer do not pay for the merge. */
  readonly splitKeys: number;
}

/** Shapes of a kind of adapter. */
export interface KernelShapes {
  /** Name of the kind. */
  readonly kind: string;
  /** For which adapters it is. */
  readonly fits: (
    features: Required<Pick<AdapterFeatures, "isSoftware" | "subgroupSize">>,
  ) => boolean;
  /** Tiles of products, by growing numbers of activation rows. */
  readonly products: readonly ProductClass[];
  /** Threads that a product should start, to keep the adapter busy. */
  readonly productThreads: number;
  /**
   * How attention uses its lanes: `rows` gives each lane whole query rows in registers, `shared` gives each lane a key,
   * then a few elements of the output, and keeps all rows in workgroup memory.
   */
  readonly attention: "rows" | "shared";
  /** Tiles among which `shared` attention may choose, the default first; none for `rows`, which do not split keys. */
  readonly attentionTiles: readonly AttentionTile[];
  /**
   * How the tokens of a list are chosen: `stretches` gives each lane a stretch of them to go through, `tiles` gives
   * neighboring lanes neighboring tokens, and counts and numbers them across lanes.
   */
  readonly plan: "stretches" | "tiles";
  /** Threads that normalize a row. */
  readonly normThreads: number;
  /** Whether split products also normalize what they read and join gate and up, which saves dispatches. */
  readonly fuses: boolean;
}

const subgroup = (rows: number): MatmulTile => ({
  variant: "subgroup",
  rows,
  rowPanels: 4,
  threads: 8,
});
/** Kinds of adapters; the first that fits is taken. */
export const SHAPES: readonly KernelShapes[] = [
  {
    // Broadcasts in a subgroup cost such an adapter nothing, barriers and workgroup memory much.
    kind: "software8",
    fits: ({ isSoftware, subgroupSize }) => isSoftware && subgroupSize === 8,
    products: [
      { rows: 1, tiles: [subgroup(1)] },
      { rows: 4, tiles: [subgroup(4)] },
      { rows: Infinity, tiles: [subgroup(8)] },
    ],
    productThreads: 0,
    attention: "rows",
    attentionTiles: [],
    plan: "stretches",
    normThreads: 64,
    fuses: false,
  },
  {
    kind: "software",
    fits: ({ isSoftware }) => isSoftware,
    products: [
      { rows: 1, tiles: [split(1, 1, 128)] },
      { rows: 4, tiles: [split(4, 1, 128)] },
      { rows: Infinity, tiles: [{ variant: "workgroup", rows: 16, rowPanels: 4, threads: 32 }] },
    ],
    productThreads: 0,
    attention: "rows",
    attentionTiles: [],
    plan: "stretches",
    normThreads: 64,
    fuses: false,
  },
  {
    // Everything here fits WebGPU's default limits: 256 threads and 16 KB of workgroup memory. Larger tiles are left
    // out where they do not fit.
    kind: "wide",
    fits: () => true,
    products: [
      { rows: 1, tiles: [split(1, 4, 256), split(1, 2, 256), split(1, 1, 256)] },
      { rows: 4, tiles: [split(4, 4, 256), split(4, 2, 256), split(4, 1, 256)] },
      { rows: 8, tiles: [split(8, 2, 256), split(8, 1, 256)] },
      { rows: 32, tiles: [split(16, 2, 256), split(16, 1, 256)] },
      { rows: 64, tiles: [tiled(64, 4, 4), split(16, 2, 256), split(16, 1, 256)] },
      {
        rows: Infinity,
        tiles: [tiled(128, 4, 8), tiled(64, 4, 4), tiled(64, 2, 4), split(16, 1, 256)],
      },
    ],
    productThreads: 2 ** 15,
    attention: "shared",
    attentionTiles: [128, 64, 256].flatMap((lanes) =>
      [64, 256, 1024].map((splitKeys) => ({ lanes, splitKeys }))
    ),
    plan: "tiles",
    normThreads: 256,
    fuses: true,
  },
];

/**
 * Chooses the shapes for a device.
 *
 * @param features What it says about itself; `shapes.kind` names a kind that is taken whatever it says. Whoever
 *   leaves out `isSoftware` means software.
 * @returns A row of the table.
 * @throws {RequirementError} If there is no such kind.
 */
export function kernelShapes(features: AdapterFeatures): KernelShapes {
  const { isSoftware = true, subgroupSize, shapes } = features;
  const found = shapes?.kind === undefined
    ? SHAPES.find(({ fits }) => fits({ isSoftware, subgroupSize }))
    : SHAPES.find(({ kind }) => kind === shapes.kind);
  if (found !== undefined) return found;
  throw new RequirementError({
    action: "choose shapes of kernels",
    requirement: `the kind must be one of ${SHAPES.map(({ kind }) => kind).join(", ")}`,
    current: String(shapes?.kind),
  });
}

/**
 * Names the shapes that kernels take on a device.
 *
 * @param info The device.
 * @returns The kind, and whether tiles were timed; undefined where kernels are not WGSL.
 */
export function shapesName(
  info: AdapterFeatures & Pick<DeviceInfo, "backend">,
): string | undefined {
  if (info.backend === "cpu" || info.backend === "reference") return undefined;
  return `${kernelShapes(info).kind}${info.shapes?.products ? ", tuned" : ""}`;
}

/** Limits, those that WebGPU guarantees where they are left out. */
function limitsOf({ maxWorkgroupBytes = 16384, maxWorkgroupThreads = 256 }: AdapterFeatures) {
  return { maxWorkgroupBytes, maxWorkgroupThreads };
}

/** Sizes that decide the tile of a product. */
export interface ProductSize {
  /** Name of the weight format; tiles that were timed are known by it. */
  readonly format?: string;
  /** Activation rows. */
  readonly rows: number;
  /** Rows of the matrix. */
  readonly weightRows: number;
}

/**
 * Tells what WebGPU rounds activations to before they meet weights of a format.
 *
 * @param features The device.
 * @param format Name of the format; one that has all products if left out.
 * @returns Undefined where it does not round: it was not asked to, or the format has no such products.
 */
export function roundedActivations(
  features: AdapterFeatures,
  format?: string,
): RoundedActivations | undefined {
  const { backend = "webgpu", activationBits } = features;
  if (backend !== "webgpu" && backend !== "dawn") return undefined;
  const bits = askedActivationBits({ backend, ...(activationBits && { activationBits }) });
  if (bits !== 8) return bits === 16 ? "f16" : undefined;
  const known = WEIGHT_FORMATS.find(({ name }) => name === format);
  return known === undefined || known.packedNumbers ? "int8" : undefined;
}

/** Whether a format has the product of a tile. */
export function hasProduct(format: WeightFormat, { activations }: MatmulTile): boolean {
  return activations !== "int8" || format.packedNumbers !== undefined;
}

/**
 * Finds the tiles among which a product may choose.
 *
 * @param features The device.
 * @param size Activation rows, and the format.
 * @returns Those of the product's class that fit the limits of the device; at least one.
 */
export function productTiles(
  features: AdapterFeatures,
  size: Pick<ProductSize, "rows" | "format">,
): readonly MatmulTile[] {
  checkInteger("choose a matrix product", "rows", { value: size.rows, min: 1 });
  const { maxWorkgroupBytes, maxWorkgroupThreads } = limitsOf(features);
  const { tiles } = productClass(features, size);
  return tiles.filter((tile) =>
    workgroupBytes(tile) <= maxWorkgroupBytes && tile.threads <= maxWorkgroupThreads
  );
}

function productClass(
  features: AdapterFeatures,
  { rows, format }: Pick<ProductSize, "rows" | "format">,
): ProductClass {
  const kind = roundedActivations(features, format);
  const classes = kind === undefined ? kernelShapes(features).products : ROUNDED_PRODUCTS[kind];
  const found = classes.find((one) => one.rows >= rows)!;
  if (kind !== "f16" || rows <= MATRIX_ROWS) return found;
  return { ...found, tiles: [...matrixTiles(features, rows), ...found.tiles] };
}

/**
 * Names what is timed together: products of a format whose activation rows are of a class, and whose matrices have
 * about as many rows.
 *
 * @param features The device.
 * @param size Sizes of the product.
 * @returns Such as `q4k, 4 rows, 2^12 outputs`.
 */
export function productBucket(features: AdapterFeatures, size: ProductSize): string {
  const { rows } = productClass(features, size);
  const outputs = Math.round(Math.log2(size.weightRows));
  const most = Number.isFinite(rows) ? `${rows} rows` : "more rows";
  const kind = roundedActivations(features, size.format);
  const rounded = kind === undefined ? "" : `, ${kind}`;
  return `${size.format ?? "any"}, ${most}, 2^${outputs} outputs${rounded}`;
}

/**
 * Chooses how to tile a product.
 *
 * @param features The device; what it can do decides, not its name.
 * @param size Sizes of the product.
 * @returns The tile that was fastest if products like this one were timed; else the first of the table that starts enough
 *   threads.
 */
export function chooseMatmul(features: AdapterFeatures, size: ProductSize): MatmulTile {
  const tiles = productTiles(features, size);
  const timed = features.shapes?.products?.[productBucket(features, size)];
  const { productThreads } = kernelShapes(features);
  const isEnough = (tile: MatmulTile) =>
    productThreadCount(tile, size) >= productThreads / (tile.matrix ? MATRIX_SHARE : 1);
  return tiles.find((tile) => tileName(tile) === timed) ?? tiles.find(isEnough) ?? tiles.at(-1)!;
}

/** Threads that a product starts. */
export function productThreadCount(
  tile: MatmulTile,
  size: Pick<ProductSize, "rows" | "weightRows">,
): number {
  return matmulGrid(tile, size).reduce((product, axis) => product * axis, tile.threads);
}

/** All tiles of the tables, each once; of matrices those of some adapters. */
export const MATMUL_TILES: readonly MatmulTile[] = [
  ...new Map(
    [
      ...[...SHAPES.map(({ products }) => products), ...Object.values(ROUNDED_PRODUCTS)]
        .flatMap((classes) => classes.flatMap(({ tiles }) => tiles)),
      ...MATRIX_SAMPLES,
    ].map((tile) => [tileName(tile), tile]),
  ).values(),
];
