/**
 * Generates the WGSL that multiplies one block of 32 columns, the loop body of matrix products.
 *
 * @module
 */

import { type MatmulTile, type ProductFusion, range } from "./matmul_tile.ts";
import {
  type BlockNames,
  blockScale,
  quadVector,
  quadWeights,
  type WeightFormat,
  type WeightScaling,
} from "./weights/format.ts";

/**
 * Multiplies 32 columns of activations and weights and adds the products to the sums.
 *
 * @param format Weight format.
 * @param tile How the product is tiled.
 * @param fusion What a split product does besides: with a norm, `n` are sums of squares.
 * @returns Lines of WGSL: `a` are activations, `w` weights of four columns, `c` the sums.
 */
export function multiplyBlock(
  format: WeightFormat,
  tile: MatmulTile,
  fusion: ProductFusion = {},
): readonly string[] {
  const rows = range(tile.rows);
  const quads = range(8);
  const scales = loadScales(format, tile);
  if (tile.rows === 1 && tile.variant !== "workgroup" && format.scaling) {
    const row = tile.variant === "subgroup" ? [loadRow(0)] : [];
    return [...scales, ...row, ...scaleLast(format, format.scaling, tile, fusion)];
  }
  if (tile.variant === "subgroup") {
    // A software adapter loads lane by lane: fetching one row ahead overlaps loading with arithmetic.
    const weights = quads.flatMap((quad) => declareWeights(format, tile, quad));
    const ahead = (m: number) => m < tile.rows ? [loadRow(m)] : [];
    return [
      ...scales,
      ...weights,
      ...ahead(0),
      ...rows.flatMap((
        m,
      ) => [...ahead(m + 1), ...quads.map((quad) => addProducts(tile, m, quad, fusion))]),
    ];
  }
  const products = quads.flatMap((quad) => [
    ...declareWeights(format, tile, quad),
    ...rows.map((m) => addProducts(tile, m, quad, fusion)),
  ]);
  if (tile.variant === "split") return [...scales, ...products];
  return [
    ...fillActivations(tile),
    ...scales,
    ...products,
    "workgroupBarrier();  // before the activations are replaced",
  ];
}

/** With a single row, scaling the products of quads that share a scale is cheaper than scaling every weight. */
function scaleLast(
  format: WeightFormat,
  scaling: WeightScaling,
  tile: MatmulTile,
  fusion: ProductFusion,
): readonly string[] {
  const rowPanels = range(tile.rowPanels);
  const groups = range(8 / scaling.quads).map((group) =>
    range(scaling.quads).map((quad) => group * scaling.quads + quad)
  );
  return groups.flatMap((quads) => [
    "{",
    "  var total = vec4f();",
    ...rowPanels.map((p) => `  var q${p} = 0.0;`),
    ...quads.flatMap((quad) => [
      ...loadVectors(format, tile, quad, quad === quads[0]).map((line) => `  ${line}`),
      `  { ${activation(tile, 0, quad, fusion)} total += a; ${
        rowPanels.map((p) =>
          `q${p} += dot(a, ${format.numbers(quad, blockNames(format, p, quad))});`
        )
          .join(" ")
      } }`,
    ]),
    "  let activations = dot(total, vec4f(1.0));",
    ...rowPanels.map((p) => {
      const sums = { products: `q${p}`, activations: "activations" };
      return `  c0_${p} += ${scaling.sum(sums, `s${p}`, quads[0]!)};`;
    }),
    "}",
  ]);
}

function loadRow(row: number): string {
  return `let a${row} = input[row${row} + block * 8u + lane];`;
}

function fillActivations({ rows, threads }: MatmulTile): readonly string[] {
  return [
    `for (var i = thread; i < ${rows * 8}u; i += ${threads}u) {`,
    "  let row = min(first_row + i / 8u, params.rows - 1u);",
    "  activations[i] = input[row * stride + block * 8u + i % 8u];",
    "}",
    "workgroupBarrier();",
  ];
}

/** Declares `a`, four columns of an activation row. */
function activation(tile: MatmulTile, row: number, quad: number, { norm }: ProductFusion): string {
  switch (tile.variant) {
    case "subgroup":
      return `let a = subgroupBroadcast(a${row}, ${quad}u);`;
    case "workgroup":
      return `let a = activations[${row * 8 + quad}];`;
    default: {
      const place = `block * 8u + ${quad}u`;
      return norm
        ? `let x = input[row${row} + ${place}]; n${row} += dot(x, x); let a = x * gain[${place}];`
        : `let a = input[row${row} + ${place}];`;
    }
  }
}

/** Declares scales and high bits of a block of every row panel. */
export function loadScales(format: WeightFormat, tile: MatmulTile): readonly string[] {
  return range(tile.rowPanels).flatMap((p) => {
    const place = `(panel${p} + block)`;
    const scale = blockScale(format, place);
    return [
      ...(scale ? [`let s${p} = ${scale};`] : []),
      ...(format.planes.high ? [`let h${p} = high[${place} * 8u + lane];`] : []),
    ];
  });
}

/** Declares the weights of four columns of every row panel. */
function declareWeights(format: WeightFormat, tile: MatmulTile, quad: number): readonly string[] {
  return [
    ...declareVectors(format, tile, quad),
    ...range(tile.rowPanels).map((p) =>
      `let w${quad}_${p} = ${quadWeights(format, quad, blockNames(format, p, quad))};`
    ),
  ];
}

/** Loads the vectors that hold a quad unless an earlier quad of the block has loaded them. */
export function declareVectors(
  format: WeightFormat,
  tile: MatmulTile,
  quad: number,
): readonly string[] {
  return loadVectors(format, tile, quad, quad === 0);
}

/** Names of what was loaded for a quad of a row panel. */
export function blockNames(format: WeightFormat, rowPanel: number, quad: number): BlockNames {
  const values = `v${rowPanel}_${quadVector(format, quad)}`;
  return { values, scale: `s${rowPanel}`, high: `h${rowPanel}` };
}

/** Loads the vectors that hold a quad unless the previous quad has loaded them. */
function loadVectors(
  format: WeightFormat,
  tile: MatmulTile,
  quad: number,
  isFirst: boolean,
): readonly string[] {
  const vector = quadVector(format, quad);
  if (!isFirst && vector === quadVector(format, quad - 1)) return [];
  return range(tile.rowPanels).map((p) => {
    const index =
      `((panel${p} + block) * ${format.planes.values.perBlock}u + ${vector}u) * 8u + lane`;
    return `let v${p}_${vector} = values[${index}];`;
  });
}

/** Adds the products of four columns of one activation row with every row panel. */
function addProducts(
  tile: MatmulTile,
  row: number,
  quad: number,
  fusion: ProductFusion,
): string {
  const sums = range(tile.rowPanels).map((p) => `c${row}_${p} += dot(a, w${quad}_${p});`);
  return `{ ${activation(tile, row, quad, fusion)} ${sums.join(" ")} }`;
}
