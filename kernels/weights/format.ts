/**
 * Weight matrices on the device: what a format's record says, and what follows from it for any format.
 *
 * A matrix [rows, columns] is padded with zeros to `rows % 8 == 0` and `columns % 32 == 0` and kept in row panels of
 * 8 rows, so that 8 threads that each own a row read adjacent 16-byte vectors. With `blocks = columns / 32`:
 *
 * | plane | elements |
 * | --- | --- |
 * | values | `[rows / 8][blocks][vectors][8]` vectors of 4 words, or of 2: the weights or their low bits |
 * | scales | `[rows / 8][blocks][8]` words: scales and minima |
 * | superScales | `[rows / 8][blocks / 8][8]` words: two halves by which those of `scales` are multiplied |
 * | high | `[rows / 8][blocks][8]` of one or two words: bits above those in `values` |
 *
 * The file of each format says what the bits mean.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { PlanePlace, StoredType } from "./packing.ts";

/** Rows of a row panel; each is read by one thread. */
export const ROWS_PER_PANEL = 8;

/** Columns of a block; a quantized block has its own scale. */
export const BLOCK_COLUMNS = 32;

/** Columns of a super-block, which share a word of the plane `superScales`. */
export const SUPER_COLUMNS = 256;

/** Exponents of a word of two halves. */
export const TWO_HALVES = 0x7c007c00;

/** An item for each plane of a format. */
export interface Planes<Item> {
  /** For the weights or their low bits. */
  readonly values: Item;
  /** For scales and minima. */
  readonly scales?: Item;
  /** For factors on scales. */
  readonly superScales?: Item;
  /** For bits above those in `values`. */
  readonly high?: Item;
}

/** Elements of a plane: their type in WGSL, and how many a block of one row has. */
export interface PlaneLayout {
  /** Type of an element. */
  readonly type: "vec4f" | "vec4u" | "vec2u" | "u32";
  /** Elements per block; 1 / 8 where a super-block has one. */
  readonly perBlock: number;
}

/** A vector for each block: nibbles of 32 weights. */
export const VECTOR: PlaneLayout = { type: "vec4u", perBlock: 1 };

/** A word for each block. */
export const WORD: PlaneLayout = { type: "u32", perBlock: 1 };

/** A word for each super-block. */
export const SUPER_WORD: PlaneLayout = { type: "u32", perBlock: BLOCK_COLUMNS / SUPER_COLUMNS };

const ELEMENT_WORDS = { vec4f: 4, vec4u: 4, vec2u: 2, u32: 1 } as const;

/** Words of an element of a plane. */
export function elementWords({ type }: PlaneLayout): number {
  return ELEMENT_WORDS[type];
}

/** Names of the WGSL variables that hold what was loaded for one row and block. */
export interface BlockNames {
  /** Vector of the plane `values` that holds the quad. */
  readonly values: string;
  /** What `WeightScaling.load` gives, times the factors of the super-block. */
  readonly scale: string;
  /** Words of the plane `high`. */
  readonly high: string;
}

/** How small integers become weights, in WGSL. */
export interface WeightScaling {
  /** Neighboring quads that share a scale: 8, or 4 where a block has two scales. */
  readonly quads: 4 | 8;
  /** Expression of type `vec2f` or `vec4f` for the scales of a block, from its word of the plane `scales`. */
  load(word: string): string;
  /** Components of a word of the plane `superScales` that multiply these; `xy` if left out. */
  readonly factors?: string;
  /** Expression of type `vec4f` for the weights of a quad. */
  weights(numbers: string, scale: string, quad: number): string;
  /** Expression of type `f32` for the sum over weights times activations of quads that share a scale. */
  sum(
    sums: { readonly products: string; readonly activations: string },
    scale: string,
    quad: number,
  ): string;
}

/** Where a block of one row begins in its planes, and its first column. */
export interface BlockPlace extends PlanePlace {
  /** First column. */
  readonly column: number;
}

/** Reads the 32 weights of a block as numbers. */
export type BlockReader = (target: Float64Array, place: BlockPlace) => void;

/** Everything that defines a format. A block of 32 columns has 8 quads; quad q is columns 4q to 4q + 3. */
export interface WeightFormat {
  /** Name, part of those of kernels. */
  readonly name: string;
  /** Planes, in the order of their bindings. */
  readonly planes: Planes<PlaneLayout>;
  /** WGSL functions that the expressions call; empty if there are none. */
  readonly functions: string;
  /** WGSL expression of type `vec4f` for a quad: small integers, or the weights if there is no scaling. */
  numbers(quad: number, names: BlockNames): string;
  /**
   * WGSL expression of type `u32` for the same small integers as four signed bytes. Formats that have it have products with
   * activations of 8 bits, `NAME.as` included: their integers, after an offset is added, have no sign and at most 7 bits.
   */
  packedNumbers?(quad: number, names: BlockNames): string;
  /** How integers become weights; absent for plain floats. */
  readonly scaling?: WeightScaling;
  /** Makes the reader of a matrix, which the twins of kernels use. */
  reader(planes: Planes<Uint32Array>): BlockReader;
  /** Plane whose floats must be finite, and the bits of their exponents in a word. */
  readonly floats: {
    readonly plane: "values" | "scales" | "superScales";
    readonly exponents: number;
  };
  /** Types in files that are kept in this format, by their names in ggml and safetensors. */
  readonly stored: Readonly<Record<string, StoredType>>;
}

/** Size of a matrix before padding. */
export interface MatrixShape {
  /** Rows; one output of a layer each. */
  readonly rows: number;
  /** Columns; one input of a layer each. */
  readonly columns: number;
}

/** A matrix in a device format, in host memory. */
export type WeightPlanes = Planes<Uint32Array<ArrayBuffer>>;

/** The words as pairs of halves. */
export function halvesOf<Memory extends ArrayBufferLike>(
  { buffer, byteOffset, length }: Uint32Array<Memory>,
): Float16Array<Memory> {
  return new Float16Array(buffer, byteOffset, 2 * length);
}

/** Addresses of planes for code of the CPU device, which has a field for each, whether a format has it or not. */
export const ABSENT_PLANES = { scales: 0, superScales: 0, high: 0 } as const;

/** Maps the item of each plane. */
export function mapPlanes<From, To>(planes: Planes<From>, map: (item: From) => To): Planes<To> {
  const entries = Object.entries<From>({ ...planes });
  const mapped: unknown = Object.fromEntries(entries.map(([name, item]) => [name, map(item)]));
  return mapped as Planes<To>;
}

/** Rounds a number of columns up to whole blocks. */
export function paddedColumns(columns: number): number {
  return Math.ceil(columns / BLOCK_COLUMNS) * BLOCK_COLUMNS;
}

/** The columns of a matrix must be a multiple of this. */
export function columnStep(format: WeightFormat): number {
  return format.planes.superScales ? SUPER_COLUMNS : 1;
}

/**
 * Counts the words of each plane of a matrix, padding included.
 *
 * @param format Format of the matrix.
 * @param shape Its size.
 * @returns 32-bit words per plane.
 * @throws {RequirementError} If the format has super-blocks and the columns are not a multiple of 256.
 */
export function planeWords(format: WeightFormat, shape: MatrixShape): Planes<number> {
  if (shape.columns % columnStep(format) !== 0) {
    throw new RequirementError({
      action: `lay out ${format.name} weights`,
      requirement: `columns must be a multiple of ${SUPER_COLUMNS}`,
      current: shape.columns,
    });
  }
  const rows = Math.ceil(shape.rows / ROWS_PER_PANEL) * ROWS_PER_PANEL;
  const blocks = rows * paddedColumns(shape.columns) / BLOCK_COLUMNS;
  return mapPlanes(format.planes, (plane) => blocks * plane.perBlock * elementWords(plane));
}

/** Makes the planes of a matrix of zeros. */
export function createPlanes(format: WeightFormat, shape: MatrixShape): WeightPlanes {
  return mapPlanes(planeWords(format, shape), (words) => new Uint32Array(words));
}

/** Planes as a kernel's twin gets them: words or floats. */
export type PlaneArrays = Planes<Uint32Array | Float32Array>;

/** Reads one row of a matrix as numbers into `target`, [padded columns]. */
export type RowReader = (row: number, target: Float64Array) => void;

/**
 * Makes a function that reads rows of a packed matrix as numbers.
 *
 * @param format Format of the planes.
 * @param planes The planes.
 * @param columns Columns of the matrix; padded up.
 * @returns The reader; it fills as many elements as there are padded columns.
 */
export function rowReader(
  format: WeightFormat,
  planes: PlaneArrays,
  columns: number,
): RowReader {
  const blocks = paddedColumns(columns) / BLOCK_COLUMNS;
  const { values } = format.planes;
  const readBlock = format.reader(
    mapPlanes(planes, (words) => new Uint32Array(words.buffer, words.byteOffset, words.length)),
  );
  return (row, target) => {
    const lane = row % ROWS_PER_PANEL;
    const rowPanel = (row - lane) / ROWS_PER_PANEL;
    for (let block = 0; block < blocks; block++) {
      const index = rowPanel * blocks + block;
      readBlock(target, {
        column: block * BLOCK_COLUMNS,
        value: (index * values.perBlock * ROWS_PER_PANEL + lane) * elementWords(values),
        scale: index * ROWS_PER_PANEL + lane,
        superBlockScale: Math.floor(index * BLOCK_COLUMNS / SUPER_COLUMNS) * ROWS_PER_PANEL + lane,
      });
    }
  };
}

/** Bindings of the planes, for a kernel's contract. */
export function planeBindings(
  format: WeightFormat,
): Readonly<Record<string, "read f32" | "read u32">> {
  return { ...mapPlanes(format.planes, ({ type }) => type === "vec4f" ? "read f32" : "read u32") };
}

/** Element types of the planes' bindings, by the text that follows `var<storage, `. */
export function planeVariables(format: WeightFormat): Readonly<Record<string, string>> {
  const entries = Object.entries(format.planes) as [string, PlaneLayout][];
  return Object.fromEntries(entries.map(([name, { type }]) => [`read> ${name}`, type]));
}

/**
 * Declares the parameters and bindings of a generated kernel.
 *
 * @param params Types of the fields of `Params`, in order.
 * @param variables Element types of the storage buffers in binding order, named as by `planeVariables`.
 * @returns Lines of WGSL.
 */
export function declarations(
  params: Readonly<Record<string, string>>,
  variables: Readonly<Record<string, string>>,
): string[] {
  return [
    "struct Params {",
    ...Object.entries(params).map(([name, type]) => `  ${name}: ${type},`),
    "}",
    "",
    ...Object.entries(variables).map(([name, type], i) =>
      `@group(0) @binding(${i}) var<storage, ${name}: array<${type}>;`
    ),
    "@group(1) @binding(0) var<uniform> params: Params;",
  ];
}

/**
 * WGSL expression for the scales of a block.
 *
 * @param format Weight format.
 * @param place Expression for the block of all row panels; the row within it is `lane`.
 * @returns An expression of the type that `WeightScaling.load` gives; undefined for plain floats.
 */
export function blockScale(format: WeightFormat, place: string): string | undefined {
  const scale = format.scaling?.load(`scales[${place} * 8u + lane]`);
  if (format.planes.superScales === undefined) return scale;
  const factors = format.scaling?.factors === undefined ? "" : `.${format.scaling.factors}`;
  return `${scale} * unpack2x16float(superScales[${place} / 8u * 8u + lane])${factors}`;
}

/** Which vector of a block's values holds a quad. */
export function quadVector(format: WeightFormat, quad: number): number {
  return Math.floor(quad * format.planes.values.perBlock / 8);
}

/** WGSL expression of type `vec4f` for the weights of a quad. */
export function quadWeights(format: WeightFormat, quad: number, names: BlockNames): string {
  const numbers = format.numbers(quad, names);
  return format.scaling?.weights(numbers, names.scale, quad) ?? numbers;
}
