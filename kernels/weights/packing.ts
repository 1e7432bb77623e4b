/**
 * What a format needs to pack weights: types in files, and where the packers read and write.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h | ggml-common.h} for the blocks of ggml.
 * @module
 */

/** Planes with the views that packers write through; a plane that the format lacks is empty. */
export interface PackTarget {
  /** Columns of the matrix, without padding. */
  readonly columns: number;
  /** Blocks of 32 columns per row. */
  readonly blocks: number;
  /** The weights or their low bits. */
  readonly values: Uint32Array<ArrayBuffer>;
  /** Scales and minima as bits. */
  readonly scales: Uint32Array<ArrayBuffer>;
  /** The same memory as numbers, scale first. */
  readonly halves: Float16Array<ArrayBuffer>;
  /** Factors on scales, as bits. */
  readonly superScales: Uint32Array<ArrayBuffer>;
  /** Bits above those in `values`. */
  readonly high: Uint32Array<ArrayBuffer>;
}

/** Rows of one tensor in the bytes of a file, seen as words of each size. */
export interface PackSource {
  /** The bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The bytes as 16-bit words. */
  readonly words16: Uint16Array<ArrayBuffer>;
  /** The same memory as halves. */
  readonly halves: Float16Array<ArrayBuffer>;
  /** The same memory as 32-bit words; what follows the last whole word is left out. */
  readonly words32: Uint32Array<ArrayBuffer>;
}

/** Where a row, or a block of it, begins in its planes; words of the blocks of a row are 8 apart. */
export interface PlanePlace {
  /** Word of `values`; vectors of 4 words of a row are `VECTOR_STEP` words apart. */
  readonly value: number;
  /** Word of `scales`, and element of `high`. */
  readonly scale: number;
  /** Word of `superScales`. */
  readonly superBlockScale: number;
}

/** Where a row begins in the file and in the planes. */
export interface PackPlace extends PlanePlace {
  /** Byte of the source. */
  readonly byte: number;
}

/** How a file stores weights. */
export interface StoredType {
  /** Weights of a block; 1 for plain floats. */
  readonly elements: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Packs one row. */
  packRow(source: PackSource, target: PackTarget, row: PackPlace): void;
}

/** Words between the vectors of one row, where they have 4 words. */
export const VECTOR_STEP = 32;
