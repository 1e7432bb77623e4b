import { assertEquals, assertThrows } from "@std/assert";
import { DataError, RequirementError } from "../../../core/check.ts";
import {
  createPlanes,
  type MatrixShape,
  paddedColumns,
  rowReader,
  type WeightPlanes,
} from "../../../kernels/weights/format.ts";
import { packRows } from "../../../models/weights/packing.ts";
import {
  TENSOR_TYPES,
  tensorBytes,
  type TensorType,
} from "../../../models/weights/tensor_source.ts";
import golden from "../../fixtures/quant_blocks.json" with { type: "json" };
import { assertClose } from "../../support/assert_close.ts";
import { dequantize } from "../../support/weight_types.ts";
import { randomRows } from "../../support/weights.ts";

const types = Object.keys(TENSOR_TYPES) as TensorType[];

/** Packs rows into new planes of their format. */
function pack(
  type: TensorType,
  data: Uint8Array<ArrayBuffer>,
  rows: MatrixShape & { readonly name?: string },
): WeightPlanes {
  const planes = createPlanes(TENSOR_TYPES[type]!.format, rows);
  packRows(planes, data, { name: "weights", ...rows, type, firstRow: 0 });
  return planes;
}

function decode(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

for (const [name, { count, bytes, floats }] of Object.entries(golden)) {
  Deno.test(`dequantize() agrees with llama.cpp's gguf package on ${name}`, () => {
    const expected = new Float32Array(decode(floats).buffer);
    const actual = dequantize(name as TensorType, decode(bytes), count);
    // The package rounds products and sums to f32.
    const magnitude = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assertClose(actual, expected, { terms: 1, magnitude });
  });
}

for (const [name, { count, bytes, floats }] of Object.entries(golden)) {
  Deno.test(`packRows() gives ${name} the floats of llama.cpp's gguf package`, () => {
    const type = name as TensorType;
    const planes = pack(type, decode(bytes), { rows: 1, columns: count });
    const actual = new Float64Array(paddedColumns(count));
    rowReader(TENSOR_TYPES[type]!.format, planes, count)(0, actual);
    const expected = new Float32Array(decode(floats).buffer);
    assertEquals(
      Float32Array.from(actual.subarray(0, count), (value) => value + 0),
      expected.map((value) => value + 0),
    );
  });
}

for (const type of types) {
  for (const [rows, blocks] of [[1, 1], [8, 2], [13, 3]] as const) {
    Deno.test(`packRows() keeps the weights of ${rows} rows of ${type}`, () => {
      const columns = Math.max(TENSOR_TYPES[type]!.elements, 32) * blocks;
      const data = randomRows(type, { rows, columns });
      const planes = pack(type, data, { rows, columns });
      const expected = dequantize(type, data, rows * columns);
      const readRow = rowReader(TENSOR_TYPES[type]!.format, planes, columns);
      const actual = new Float64Array(columns);
      for (let row = 0; row < rows; row++) {
        readRow(row, actual);
        const expectedRow = expected.subarray(row * columns, (row + 1) * columns);
        assertEquals(actual.map((value) => value + 0), expectedRow.map((value) => value + 0));
      }
    });
  }
}

for (const type of ["F32", "F16", "BF16"] as const) {
  for (const columns of [1, 7, 60]) {
    Deno.test(`packRows() pads ${columns} columns of ${type} with zeros`, () => {
      const rows = 9;
      const data = randomRows(type, { rows, columns });
      const planes = pack(type, data, { rows, columns });
      const readRow = rowReader(TENSOR_TYPES[type]!.format, planes, columns);
      const actual = new Float64Array(paddedColumns(columns));
      for (let row = 0; row < 16; row++) {
        readRow(row, actual);
        const expected = new Float64Array(actual.length);
        if (row < rows) {
          expected.set(
            dequantize(type, data, rows * columns).subarray(row * columns).subarray(0, columns),
          );
        }
        assertEquals(actual, expected);
      }
    });
  }
}

for (const type of types) {
  Deno.test(`packRows() refuses weights of ${type} that are not finite`, () => {
    const columns = Math.max(TENSOR_TYPES[type]!.elements, 32);
    for (const bits of [0x7e00, 0xfc00]) {
      const data = randomRows(type, { rows: 9, columns });
      const field = { Q2_K: 80, Q3_K: 108, Q6_K: 208, F32: 2 }[type as string] ?? 0;
      const lastRow = tensorBytes(type, [8, columns]);
      const pattern = type === "BF16" || type === "F32" ? bits | 0x0380 : bits | 0x00ff;
      new DataView(data.buffer).setUint16(lastRow + field, pattern, true);
      assertThrows(
        () => pack(type, data, { rows: 9, columns, name: "layer.weight" }),
        DataError,
        'Cannot pack tensor "layer.weight": weights must be finite',
      );
    }
  });
}

Deno.test("packRows() refuses data of another length and broken blocks", () => {
  const data = new Uint8Array(18);
  assertThrows(() => pack("Q4_0", data, { rows: 2, columns: 32 }), RequirementError, "length 36");
  assertThrows(
    () => pack("Q4_0", data, { rows: 1, columns: 33 }),
    RequirementError,
    "columns of Q4_0 must be a multiple of 32",
  );
});
