/**
 * What tiled products of activations of 8 bits load and multiply: four integers with four at a time.
 *
 * A step is a block. Beside the integers, workgroup memory holds for each activation row the scale of its block and the sums
 * of its halves times this, and for each weight row factor and minimum of either half, or of the whole block.
 *
 * @module
 */

import { groupWeightRows, type MatmulTile, range, type TilePart } from "./matmul_tile.ts";
import { blockScale, quadVector, type WeightFormat } from "./weights/format.ts";

/** Integers of half a block. */
export function bytePart(isInput: boolean): TilePart {
  return isInput
    ? {
      ...{ name: "activations", type: "vec4u", prefix: "x", isInput, elements: 2 },
      fetched: (from, { block, element }) => `input[(${from} + ${block}) * 2u + ${element}]`,
    }
    : {
      ...{ name: "weights", type: "vec4u", prefix: "y", isInput, elements: 2 },
      fetched: (from, { block, element }) => `unpack(${from} + ${block}, thread % 8u, ${element})`,
    };
}

/** Scales of a block. */
export function byteScalePart(isInput: boolean): TilePart {
  return isInput
    ? {
      ...{ name: "activation_scales", type: "vec4f", prefix: "t", isInput, elements: 1 },
      fetched: (from, { block }) => `scaledSums(input_scales[${from} + ${block}])`,
    }
    : {
      ...{ name: "weight_scales", type: "vec4f", prefix: "u", isInput, elements: 1 },
      fetched: (from, { block }) => `bothFactors(${from} + ${block}, thread % 8u)`,
    };
}

/** Functions that split and tiled products of bytes share. */
export const BYTE_PRODUCTS = `fn dots(a: vec4u, b: vec4u) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) +
    dot4I8Packed(a.w, b.w);
}
// The scale of a block of activations, and the sums of its halves times this.
fn scaledSums(words: vec2u) -> vec4f {
  let scale = bitcast<f32>(words.x);
  let sums = bitcast<vec2i>(vec2u(words.y << 16u, words.y)) >> vec2u(16u);
  return vec4f(scale, vec2f(sums) * scale, 0.0);
}`;

/** Expression for the packed integers of half a block, whose words begin at `first`. */
export function packedHalf(format: WeightFormat, half: number, high: string): string {
  const words = range(4).map((i) => {
    const quad = 4 * half + i;
    const values = `values[first + ${8 * quadVector(format, quad)}u]`;
    return format.packedNumbers!(quad, { values, scale: "", high });
  });
  return `vec4u(${words.join(", ")})`;
}

/** Factor or minimum of a quad's weights, as an expression: `weight = factor * integer + minimum`. */
export function factorOf(format: WeightFormat, scale: string, quad: number): string {
  return format.scaling!.sum({ products: "1.0", activations: "0.0" }, scale, quad);
}

/** See {@linkcode factorOf}. */
export function minimumOf(format: WeightFormat, scale: string, quad: number): string {
  return format.scaling!.sum({ products: "0.0", activations: "1.0" }, scale, quad);
}

/** Makes the functions that unpack half a block of a weight row, and its scales. */
export function unpackByteFunctions(format: WeightFormat): string {
  const both = [0, 4].flatMap((quad) => [
    factorOf(format, "s", quad),
    minimumOf(format, "s", quad),
  ]);
  return [
    "// Integers of half a block of a row: block counts those of all row panels, lane is the row in its panel.",
    "fn unpack(block: u32, lane: u32, half: u32) -> vec4u {",
    ...(format.planes.high ? ["  let h = high[block * 8u + lane];"] : []),
    `  let first = block * ${format.planes.values.perBlock * 8}u + lane;`,
    `  if (half == 0u) { return ${packedHalf(format, 0, "h")}; }`,
    `  return ${packedHalf(format, 1, "h")};`,
    "}",
    "// Factor and minimum of the first and of the second half of a block.",
    "fn bothFactors(block: u32, lane: u32) -> vec4f {",
    `  let s = ${blockScale(format, "block")!};`,
    `  return vec4f(${both.join(", ")});`,
    "}",
  ].join("\n");
}

/** Multiplies a block of the activation rows of a thread with its weight rows. */
export function multiplyBytes(
  format: WeightFormat,
  tile: MatmulTile,
  across: number,
): readonly string[] {
  const { rows, rowPanels, threadRows = rows } = tile;
  const weightRows = groupWeightRows(tile);
  return [
    `let row_base = now * ${2 * rows}u + thread_row;`,
    `let column_base = now * ${2 * weightRows}u + thread_column;`,
    `let row_scale = now * ${rows}u + thread_row;`,
    `let column_scale = now * ${weightRows}u + thread_column;`,
    ...range(rowPanels).flatMap((n) => [
      `let v${n} = weights[column_base + ${n * across}u];`,
      `let w${n} = weights[column_base + ${weightRows + n * across}u];`,
      `let s${n} = weight_scales[column_scale + ${n * across}u];`,
    ]),
    ...range(threadRows).flatMap((m) => {
      const row = m * rows / threadRows;
      return [
        "{",
        `  let a = activations[row_base + ${row}u];`,
        `  let b = activations[row_base + ${rows + row}u];`,
        `  let t = activation_scales[row_scale + ${row}u];`,
        ...range(rowPanels).map((n) => `  c${m}_${n} += ${blockSum(format, n)};`),
        "}",
      ];
    }),
  ];
}

/** A block's products, by what its halves have in common. */
function blockSum(format: WeightFormat, n: number): string {
  const [first, second] = [`dots(a, v${n})`, `dots(b, w${n})`];
  return format.scaling!.quads === 8
    ? `t.x * s${n}.x * f32(${first} + ${second}) + (t.y + t.z) * s${n}.y`
    : `t.x * (s${n}.x * f32(${first}) + s${n}.z * f32(${second})) + t.y * s${n}.y + t.z * s${n}.w`;
}
