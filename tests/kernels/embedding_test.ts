import { assertEquals } from "@std/assert";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { embeddingGrid, embeddingKernel } from "../../kernels/embedding.ts";
import { paddedColumns, rowReader, type WeightFormat } from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { allowedColumns, randomPlanes } from "../support/weights.ts";

const vocabulary = 29;
const capacity = 9;

interface Case {
  readonly columns: number;
  readonly rowsPerSequence: number;
  readonly sequences: number;
  readonly firstSequence: number;
  readonly lengths: readonly number[];
  readonly firstRow: number;
  readonly factor?: number;
}

const cases: readonly Case[] = [
  { columns: 32, rowsPerSequence: 1, sequences: 1, firstSequence: 0, lengths: [0], firstRow: 0 },
  {
    columns: 60,
    rowsPerSequence: 3,
    sequences: 2,
    firstSequence: 1,
    lengths: [9, 2, 5],
    firstRow: 0,
    factor: 25.25,
  },
  {
    columns: 896,
    rowsPerSequence: 1,
    sequences: 3,
    firstSequence: 0,
    lengths: [8, 0, 4],
    firstRow: 8,
  },
];

/** The cases with columns that the format allows. */
function casesOf(format: WeightFormat): Case[] {
  return cases.map((size) => ({ ...size, columns: allowedColumns(format, size.columns) }));
}

function tokenOf(sequence: number, position: number): number {
  return (7 * sequence + 5 * position) % vocabulary;
}

function runOf(format: WeightFormat, size: Case) {
  const columns = paddedColumns(size.columns);
  const rows = size.sequences * size.rowsPerSequence;
  const stride = columns + 32;
  const planes = randomPlanes(format, { rows: vocabulary - size.firstRow, columns: size.columns });
  const tokens = Uint32Array.from(
    { length: size.lengths.length * capacity },
    (_, i) => tokenOf(Math.floor(i / capacity), i % capacity),
  );
  const output = new Float32Array(rows * stride).fill(7);
  const buffers = {
    ...planes,
    tokens,
    state: Uint32Array.of(size.firstSequence, ...size.lengths),
    output,
  } as unknown as KernelArrays<KernelContract>;
  const params = {
    rows,
    rows_per_sequence: size.rowsPerSequence,
    capacity,
    columns,
    stride,
    first_row: size.firstRow,
    block_rows: vocabulary - size.firstRow,
    factor: size.factor ?? 1,
  };
  return {
    planes,
    stride,
    rows,
    columns,
    run: { buffers, params, grid: embeddingGrid(rows, columns) },
  };
}

for (const format of WEIGHT_FORMATS) {
  for (const size of casesOf(format)) {
    const name = `${format.name}, ${JSON.stringify(size)}`;
    Deno.test(`the twin of embedding copies the row of each token: ${name}`, async () => {
      const { planes, stride, rows, columns, run } = runOf(format, size);
      const { output } = await runReference(embeddingKernel(format), run);
      const expected = new Float32Array(rows * stride).fill(7);
      const weights = new Float64Array(columns);
      for (let row = 0; row < rows; row++) {
        const sequence = size.firstSequence + Math.floor(row / size.rowsPerSequence);
        const position = size.lengths[sequence]! + row % size.rowsPerSequence;
        const id = tokenOf(sequence, position);
        if (id < size.firstRow) continue;
        rowReader(format, planes, columns)(id - size.firstRow, weights);
        expected.set(weights.map((weight) => (size.factor ?? 1) * weight), row * stride);
      }
      assertEquals(output as unknown, expected);
    });

    kernelTest({
      name: `embedding agrees with its twin: ${name}`,
      async fn(device) {
        const { run } = runOf(format, size);
        const expected = await runReference(embeddingKernel(format), run);
        const actual = await runKernel(embeddingKernel(format), run, { device });
        assertClose(actual.output!, expected.output!, {
          terms: 1,
          magnitude: 2 * (size.factor ?? 1),
        });
      },
    });
  }
}
