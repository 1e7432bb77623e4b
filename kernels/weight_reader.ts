/**
 * Reads rows of packed matrices as numbers; what the twins of kernels with weights are made of.
 *
 * @module
 */

import {
  BLOCK_COLUMNS,
  HIGH_WORDS,
  paddedColumns,
  PANEL_ROWS,
  SUPER_BLOCKS,
  VALUE_VECTORS,
  type WeightFormat,
} from "./weight_format.ts";

/** Planes as a kernel's twin gets them; `values` of an f32 matrix may be floats or their bits. */
export interface PlaneArrays {
  /** The weights or their low bits. */
  readonly values: Uint32Array | Float32Array;
  /** Scales and minima. */
  readonly scales?: Uint32Array;
  /** What scales are multiplied with. */
  readonly supers?: Uint32Array;
  /** Bits above the fourth. */
  readonly high?: Uint32Array;
}

/** Reads one row of a matrix as numbers into `target`, [padded columns]. */
export type RowReader = (row: number, target: Float64Array) => void;

/**
 * Makes a function that reads rows of a packed matrix as numbers.
 *
 * @param format Format of the planes.
 * @param planes The planes; `f32` values may also be a Float32Array.
 * @param columns Columns of the matrix; padded up.
 * @returns The reader; it fills as many elements as there are padded columns.
 */
export function rowReader(
  format: WeightFormat,
  planes: PlaneArrays,
  columns: number,
): RowReader {
  const blocks = paddedColumns(columns) / BLOCK_COLUMNS;
  const vectors = VALUE_VECTORS[format];
  const readBlock = blockReader(format, planes);
  return (row, target) => {
    const lane = row % PANEL_ROWS;
    const panel = (row - lane) / PANEL_ROWS;
    for (let block = 0; block < blocks; block++) {
      const index = panel * blocks + block;
      readBlock(target, {
        first: block * BLOCK_COLUMNS,
        values: (index * vectors * PANEL_ROWS + lane) * 4,
        scale: index * PANEL_ROWS + lane,
        unit: Math.floor(index / SUPER_BLOCKS) * PANEL_ROWS + lane,
      });
    }
  };
}

/** Where a block of one row begins: its first column, its first word of `values`, its words of `scales` and `supers`. */
interface BlockPlace {
  readonly first: number;
  readonly values: number;
  readonly scale: number;
  readonly unit: number;
}

type BlockReader = (target: Float64Array, place: BlockPlace) => void;

function blockReader(
  format: WeightFormat,
  planes: PlaneArrays,
): BlockReader {
  const { values } = planes;
  const bytes = [values.buffer, values.byteOffset] as const;
  if (format === "f32") return floatReader(new Float32Array(...bytes, values.length), 4);
  if (format === "f16") return floatReader(new Float16Array(...bytes, values.length * 2), 8);
  const words = values as Uint32Array;
  if (format === "bf16") return bfloatReader(words);
  if (format === "q8") {
    return byteReader(new Int8Array(...bytes, values.length * 4), halvesOf(planes.scales!));
  }
  const scaleOf = scaleReader(format, planes);
  return nibbleReader(format, { words, scaleOf, high: planes.high ?? words });
}

/** Gives the scale and minimum of a block, or the two scales of q6. */
type ScaleReader = (place: BlockPlace) => readonly [number, number];

function scaleReader(format: WeightFormat, planes: PlaneArrays): ScaleReader {
  const scales = planes.scales!;
  const halves = halvesOf(scales);
  if (format === "q6") {
    const bytes = new Int8Array(scales.buffer, scales.byteOffset, 4 * scales.length);
    return ({ scale }) => {
      const unit = halves[2 * scale + 1]!;
      return [unit * bytes[4 * scale]!, unit * bytes[4 * scale + 1]!];
    };
  }
  const units = planes.supers && halvesOf(planes.supers);
  return ({ scale, unit }) => [
    halves[2 * scale]! * (units?.[2 * unit] ?? 1),
    halves[2 * scale + 1]! * (units?.[2 * unit + 1] ?? 1),
  ];
}

function halvesOf({ buffer, byteOffset, length }: Uint32Array): Float16Array {
  return new Float16Array(buffer, byteOffset, 2 * length);
}

/** Reads vectors of 16 bytes that hold `perVector` floats; those of a row are 8 vectors apart. */
function floatReader(floats: Float32Array | Float16Array, perVector: number): BlockReader {
  return (target, place) => {
    const start = place.values / 4 * perVector;
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const vector = Math.floor(i / perVector) * PANEL_ROWS;
      target[place.first + i] = floats[start + vector * perVector + i % perVector]!;
    }
  };
}

function bfloatReader(words: Uint32Array): BlockReader {
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  return (target, place) => {
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const word = words[place.values + (i >> 3) * PANEL_ROWS * 4 + (i >> 1 & 3)]!;
      bits[0] = i % 2 === 0 ? word << 16 : word & 0xffff0000;
      target[place.first + i] = float[0]!;
    }
  };
}

function byteReader(bytes: Int8Array, halves: Float16Array): BlockReader {
  return (target, place) => {
    const scale = halves[place.scale * 2]!;
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const byte = place.values * 4 + (i >> 4) * PANEL_ROWS * 16 + (i & 15);
      target[place.first + i] = scale * bytes[byte]!;
    }
  };
}

function nibbleReader(
  format: "q4" | "q4k" | "q5" | "q5k" | "q6",
  planes: {
    words: Uint32Array;
    scaleOf: ScaleReader;
    high: Uint32Array;
  },
): BlockReader {
  const { words, scaleOf, high } = planes;
  return (target, place) => {
    const [first, second] = scaleOf(place);
    for (let i = 0; i < BLOCK_COLUMNS; i++) {
      const byte = 8 * (i & 3);
      let q = words[place.values + (i >> 2 & 3)]! >>> byte + (i < 16 ? 0 : 4) & 15;
      if (HIGH_WORDS[format] === 1) q |= (high[place.scale]! >>> byte + (i >> 2) & 1) << 4;
      if (format === "q6") {
        q |= (high[place.scale * 2 + (i >> 4)]! >>> byte + 2 * (i >> 2 & 3) & 3) << 4;
      }
      target[place.first + i] = format === "q6"
        ? (i < 16 ? first : second) * (q - 32)
        : first * q + second;
    }
  };
}
