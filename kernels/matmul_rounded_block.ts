/**
 * Generates the WGSL that multiplies one block of rounded activations, the loop body of split products.
 *
 * @module
 */

import { blockNames, declareVectors, loadScales } from "./matmul_block.ts";
import { type MatmulTile, range } from "./matmul_tile.ts";
import { quadWeights, type WeightFormat } from "./weights/format.ts";

/**
 * Multiplies 32 columns of halves. Sums of eight products stay in 16 bits, those of blocks are added in 32.
 *
 * @returns Lines of WGSL: `a` are activations, `w` weights of four columns, `h` sums of the block, `c` the sums.
 */
export function multiplyHalfBlock(format: WeightFormat, tile: MatmulTile): readonly string[] {
  const [rows, rowPanels] = [range(tile.rows), range(tile.rowPanels)];
  const sums = rows.flatMap((m) => rowPanels.map((p) => `${m}_${p}`));
  return [
    ...loadScales(format, tile),
    ...sums.map((sum) => `var h${sum} = vec4<f16>();`),
    ...range(8).flatMap((quad) => [
      ...declareVectors(format, tile, quad),
      ...rowPanels.map((p) =>
        `let w${quad}_${p} = vec4<f16>(${quadWeights(format, quad, blockNames(format, p, quad))});`
      ),
      ...rows.map((m) => {
        const products = rowPanels.map((p) => `h${m}_${p} += a * w${quad}_${p};`);
        return `{ let a = input[row${m} + block * 8u + ${quad}u]; ${products.join(" ")} }`;
      }),
    ]),
    ...sums.map((sum) => `c${sum} += dot(vec4f(h${sum}), vec4f(1.0));`),
  ];
}

/**
 * Multiplies 32 columns of integers of 8 bits; sums of integers are exact.
 *
 * @returns Lines of WGSL: `a` and `b` are activations of either half of the block, `w` weights of a quad, `c` the sums.
 */
export function multiplyByteBlock(format: WeightFormat, tile: MatmulTile): readonly string[] {
  const [rows, rowPanels] = [range(tile.rows), range(tile.rowPanels)];
  const { quads } = format.scaling!;
  const dots = (p: number, half: number) => {
    const words = range(4).map((i) => `w${4 * half + i}_${p}`);
    return `dots(${half === 0 ? "a" : "b"}, vec4u(${words.join(", ")}))`;
  };
  const sum = (p: number, quad: number) => {
    const isWhole = quads === 8;
    const half = quad / 4;
    const integers = isWhole ? `${dots(p, 0)} + ${dots(p, 1)}` : dots(p, half);
    const activations = isWhole ? "(t.y + t.z)" : `t.${half === 0 ? "y" : "z"}`;
    const sums = { products: `(t.x * f32(${integers}))`, activations };
    return format.scaling!.sum(sums, `s${p}`, quad);
  };
  return [
    ...loadScales(format, tile),
    ...range(8).flatMap((quad) => [
      ...declareVectors(format, tile, quad),
      ...rowPanels.map((p) => {
        const numbers = format.packedNumbers!(quad, blockNames(format, p, quad));
        return `let w${quad}_${p} = ${numbers};`;
      }),
    ]),
    ...rows.flatMap((m) => [
      "{",
      `  let place = row${m} + block;`,
      "  let a = input[2u * place];",
      "  let b = input[2u * place + 1u];",
      "  let t = scaledSums(input_scales[place]);",
      ...rowPanels.map((p) => {
        const parts = range(8 / quads).map((group) => sum(p, group * quads));
        return `  c${m}_${p} += ${parts.join(" + ")};`;
      }),
      "}",
    ]),
  ];
}
