/**
 * Products of a few activation rows that do more: they normalize the rows they read, or join gate and up of an MLP.
 *
 * On a GPU a decode step is a chain of short dispatches, and the gaps between them are a third of its time. A norm costs
 * a product little: its threads read every activation anyway.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import { type Activation, activationFunction } from "./gate_multiply.ts";
import { inputBindings, readRounded, tileExtensions } from "./matmul.ts";
import { fusionParams, MATMUL_PARAMS, matmulName, matmulSource } from "./matmul_source.ts";
import { innerTile, type MatmulTile, type ProductFusion, workgroupBytes } from "./matmul_tile.ts";
import { hasProduct } from "./shapes.ts";
import { paddedColumns, planeBindings, rowReader, type WeightFormat } from "./weights/format.ts";
import { WEIGHT_FORMATS } from "./weights/mod.ts";
import type { PlaneArrays } from "./weights/format.ts";

/** Kernels made so far. */
const kernels = new Map<string, Kernel>();

/**
 * The kernel of a format, a tile and a fusion.
 *
 * Bindings and parameters are those of `matmulKernel`, and with a norm `gain` f32 [norm_columns], a multiple of 4. With a
 * gate, `weight_rows` are those of the gate, and the rows of up begin at row panel `up_panel`.
 *
 * @param format Format of the weights.
 * @param tile How the product is tiled: split.
 * @param fusion What it does besides.
 * @returns Contract and twin; equal arguments give the same object.
 * @throws {RequirementError} If it is to normalize activations that have been rounded.
 */
export function fusedMatmulKernel(
  format: WeightFormat,
  tile: MatmulTile,
  fusion: ProductFusion,
): Kernel {
  if (fusion.norm && tile.activations !== undefined) {
    throw new RequirementError({
      action: "normalize what a product reads",
      requirement: "its activations must be floats of 32 bits",
      current: tile.activations,
    });
  }
  const name = matmulName(format, tile, fusion);
  const known = kernels.get(name);
  if (known !== undefined) return known;
  const contract: KernelContract = {
    name,
    wgsl: matmulSource(format, tile, fusion),
    bindings: {
      ...inputBindings(tile),
      ...planeBindings(format),
      bias: "read f32",
      ...(fusion.norm && { gain: "read f32" }),
      output: "write f32",
    },
    constants: {},
    params: { ...MATMUL_PARAMS, ...fusionParams(fusion) },
    workgroupBytes: workgroupBytes(innerTile(tile, fusion)),
    ...tileExtensions(tile),
  };
  const rounded = tile.activations;
  const kernel = defineKernel(contract, (run) => reference(format, { ...fusion, rounded }, run));
  kernels.set(name, kernel);
  return kernel;
}

/** Computes in float64 what the kernel computes. */
function reference(
  format: WeightFormat,
  { norm, gate, rounded }: ProductFusion & { readonly rounded: MatmulTile["activations"] },
  run: KernelRun<KernelContract>,
): void {
  const { buffers, params } = run;
  const { input, bias, gain, output } = buffers as Readonly<Record<string, Float32Array>>;
  const { rows, columns, weight_rows, output_stride, output_offset } = params;
  const { has_bias, bias_offset, accumulate, factor, input_stride, norm_columns } = params;
  const readRow = rowReader(format, buffers as unknown as PlaneArrays, columns!);
  const weights = new Float64Array(paddedColumns(columns!));
  const inputs = rounded === undefined ? input! : readRounded(rounded, run);
  const products = (row: number, activations: Float64Array) => {
    readRow(row, weights);
    if (rounded === "f16") weights.forEach((weight, k) => weights[k] = Math.f16round(weight));
    return weights.reduce((sum, weight, k) => sum + weight * activations[k]!, 0);
  };
  const activate = gate && activationFunction(gate);
  for (let row = 0; row < rows!; row++) {
    const read = Float64Array.from(inputs.subarray(row * input_stride!).subarray(0, columns));
    const squares = read.reduce((sum, value) => sum + value * value, 0);
    const scale = 1 / Math.sqrt(squares / norm_columns! + params.epsilon!);
    const activations = norm ? read.map((value, k) => value * scale * (gain![k] ?? 0)) : read;
    for (let n = 0; n < weight_rows!; n++) {
      const index = row * output_stride! + output_offset! + n;
      const product = products(n, activations);
      const joined = activate
        ? activate(product) * products(8 * params.up_panel! + n, activations)
        : product;
      const sum = joined + (has_bias ? bias![bias_offset! + n]! : 0);
      output![index] = sum * factor! + (accumulate ? output![index]! : 0);
    }
  }
}

/** Fusions that a forward pass uses. */
export const PRODUCT_FUSIONS: readonly ProductFusion[] = [
  { norm: true },
  ...(["silu", "gelu_pytorch_tanh"] as const satisfies readonly Activation[]).flatMap((gate) => [
    { gate },
    { norm: true, gate },
  ]),
];

/** Variants for the tests that compare contracts with WGSL. */
export function fusedMatmulSamples(): readonly Kernel[] {
  const tile = { variant: "split", rows: 4, rowPanels: 1, threads: 256 } as const;
  return WEIGHT_FORMATS.flatMap((format) => [
    ...PRODUCT_FUSIONS.map((fusion) => fusedMatmulKernel(format, tile, fusion)),
    ...(["f16", "int8"] as const).map((activations) => ({ ...tile, activations }))
      .filter((rounded) => hasProduct(format, rounded))
      .map((rounded) => fusedMatmulKernel(format, rounded, { gate: "silu" })),
  ]);
}
