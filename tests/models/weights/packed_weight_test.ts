import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DataError, RequirementError } from "../../../core/check.ts";
import type { Device, DeviceBuffer } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { paddedColumns, rowReader } from "../../../kernels/weights/format.ts";
import { f32 } from "../../../kernels/weights/f32.ts";
import { q4 } from "../../../kernels/weights/q4.ts";
import { q8 } from "../../../kernels/weights/q8.ts";
import { embeddingCommands, linearCommands } from "../../../models/forward/linear.ts";
import {
  loadVector,
  loadWeight,
  type PackedWeight,
  rowBlocks,
} from "../../../models/weights/packed_weight.ts";
import {
  rowRange,
  tensorBytes,
  type TensorInfo,
  type TensorSource,
  type TensorType,
} from "../../../models/weights/tensor_source.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testBackends } from "../../support/gpu.ts";
import { dequantize } from "../../support/weight_types.ts";
import { randomRows, uniform } from "../../support/weights.ts";

interface Tensor {
  readonly type: TensorType;
  readonly shape: readonly [rows: number, columns: number] | readonly [length: number];
}

/** A source of random tensors that counts its largest read. */
function randomSource(tensors: Readonly<Record<string, Tensor>>) {
  const infos = new Map<string, TensorInfo>();
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const [name, { type, shape }] of Object.entries(tensors)) {
    const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape;
    infos.set(name, { name, type, shape, byteLength: tensorBytes(type, shape) });
    contents.set(name, randomRows(type, { rows, columns, seed: name.length }));
  }
  const source = {
    description: "random tensors",
    tensors: infos,
    largestRead: 0,
    readRows(name, first, count) {
      const { byteOffset, byteLength } = rowRange(source, name, { first, count });
      source.largestRead = Math.max(source.largestRead, byteLength);
      return Promise.resolve(contents.get(name)!.slice(byteOffset, byteOffset + byteLength));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  } satisfies TensorSource & { largestRead: number };
  const rowsOf = (name: string) => {
    const { type, shape } = tensors[name]!;
    return dequantize(type, contents.get(name)!, shape.reduce((a, b) => a * b, 1));
  };
  return { source, contents, rowsOf };
}

/** Reads a matrix back as numbers, [rows, columns]. */
async function readBack(device: Device, weight: PackedWeight): Promise<Float64Array> {
  const { format, rows, columns } = weight;
  const all = new Float64Array(rows * columns);
  const target = new Float64Array(paddedColumns(columns));
  const words = async (plane: DeviceBuffer) => new Uint32Array(await device.read(plane));
  for (const block of weight.blocks) {
    const { values, scales, superScales, high } = block.planes;
    const planes = {
      values: await words(values),
      ...(scales && { scales: await words(scales) }),
      ...(superScales && { superScales: await words(superScales) }),
      ...(high && { high: await words(high) }),
    };
    const readRow = rowReader(format, planes, columns);
    for (let row = 0; row < block.rows; row++) {
      readRow(row, target);
      all.set(target.subarray(0, columns), (block.firstRow + row) * columns);
    }
  }
  return all.map((value) => value + 0);
}

const joined: Readonly<Record<string, Tensor>> = {
  q: { type: "Q5_1", shape: [21, 64] },
  kk: { type: "Q5_0", shape: [3, 64] },
  vvv: { type: "Q5_0", shape: [13, 64] },
};

for (const backend of testBackends) {
  Deno.test(`loadWeight() joins tensors and splits row blocks on ${backend}`, async () => {
    using device = await openDevice({ backend, maxBindingBytes: 8 * 64 / 2 * 2 });
    const { source, rowsOf } = randomSource(joined);
    using weight = await loadWeight(device, source, ["q", "kk", "vvv"]);
    const expected = ["q", "kk", "vvv"].flatMap((name) => [...rowsOf(name)]);
    assertEquals([weight.format.name, weight.rows, weight.columns], ["q5", 37, 64]);
    assertEquals(weight.blocks.map(({ firstRow, rows }) => [firstRow, rows]), [
      [0, 16],
      [16, 16],
      [32, 5],
    ]);
    assertEquals(weight.byteLength, 40 * 64 * 6 / 8);
    assertEquals(weight.byteLength, device.usage.liveBytes);
    assertEquals(await readBack(device, weight), Float64Array.from(expected, (value) => value + 0));
  });

  Deno.test(`linearCommands() multiply by every row block on ${backend}`, async () => {
    using device = await openDevice({ backend, maxBindingBytes: 2 ** 13 });
    const { source, rowsOf } = randomSource({
      weight: { type: "F16", shape: [150, 60] },
      bias: { type: "F32", shape: [150] },
    });
    using weight = await loadWeight(device, source, ["weight"]);
    assert(weight.blocks.length > 1);
    using bias = await loadVector(device, source, ["bias"]);
    const [rows, stride, outputStride] = [3, 64, 160];
    const random = uniform(5);
    const numbers = new Float32Array(16 * stride);
    for (let i = 0; i < rows * stride; i++) if (i % stride < 60) numbers[i] = random() - 0.5;
    using input = device.createBuffer("input", numbers.byteLength);
    device.write(input, 0, numbers);
    using output = device.createBuffer("output", 4 * rows * outputStride);
    const map = { weight, bias, input, output, rows, outputStride, inputStride: stride };
    using recording = await device.record("a linear map twice", [
      ...linearCommands(device.info, { ...map, outputOffset: 4 }),
      ...linearCommands(device.info, { ...map, outputOffset: 4, accumulate: true }),
    ]);
    device.submit(recording);
    const [weights, biases] = [rowsOf("weight"), rowsOf("bias")];
    const expected = new Float64Array(rows * outputStride);
    for (let row = 0; row < rows; row++) {
      for (let n = 0; n < 150; n++) {
        let sum = biases[n]!;
        for (let k = 0; k < 60; k++) sum += weights[n * 60 + k]! * numbers[row * stride + k]!;
        expected[row * outputStride + 4 + n] = 2 * sum;
      }
    }
    const actual = new Float32Array(await device.read(output));
    assertClose(actual, expected, { terms: 8, magnitude: 40 });
  });

  Deno.test(`embeddingCommands() find tokens in every row block on ${backend}`, async () => {
    using device = await openDevice({ backend, maxBindingBytes: 2 ** 12 });
    const { source, rowsOf } = randomSource({ table: { type: "Q8_0", shape: [300, 64] } });
    using weight = await loadWeight(device, source, ["table"]);
    assert(weight.blocks.length > 1);
    const ids = Uint32Array.of(299, 0, 64, 63, 128, 17, 255);
    using tokens = device.createBuffer("tokens", 4 * ids.length);
    device.write(tokens, 0, ids);
    using state = device.createBuffer("state", 8);
    using output = device.createBuffer("output", 4 * ids.length * 64);
    using recording = await device.record(
      "a lookup",
      embeddingCommands({
        weight,
        tokens,
        state,
        output,
        rows: ids.length,
        rowsPerSequence: ids.length,
        capacity: ids.length,
        stride: 64,
      }),
    );
    device.submit(recording);
    const table = rowsOf("table");
    const expected = [...ids].flatMap((id) => [...table.subarray(id * 64, (id + 1) * 64)]);
    const actual = new Float32Array(await device.read(output));
    assertClose(actual, expected, { terms: 1, magnitude: 1 });
  });
}

Deno.test("loadWeight() reads pieces of at most 1 MiB", async () => {
  using device = await openDevice({ backend: "reference" });
  const { source, rowsOf } = randomSource({ big: { type: "F16", shape: [3001, 1024] } });
  using weight = await loadWeight(device, source, ["big"]);
  assert(source.largestRead <= 2 ** 20);
  assertEquals(await readBack(device, weight), rowsOf("big"));
});

Deno.test("loadWeight() frees everything when it fails", async () => {
  using device = await openDevice({ backend: "reference" });
  const { source, contents } = randomSource({
    good: { type: "Q4_0", shape: [40, 32] },
    bad: { type: "Q4_0", shape: [40, 32] },
    wide: { type: "Q4_0", shape: [8, 64] },
    other: { type: "Q8_0", shape: [8, 32] },
  });
  new DataView(contents.get("bad")!.buffer).setUint16(39 * 18, 0x7c00, true);
  await assertRejects(
    () => loadWeight(device, source, ["good", "bad"]),
    DataError,
    'Cannot pack tensor "bad": weights must be finite',
  );
  for (const name of ["wide", "other"]) {
    await assertRejects(() => loadWeight(device, source, ["good", name]), DataError, `"${name}"`);
  }
  await assertRejects(
    () => loadWeight(device, source, ["good", "none"]),
    DataError,
    'tensor "none" must exist',
  );
  assertEquals(device.usage.liveBytes, 0);
});

Deno.test("loadVector() joins vectors of any type as floats and refuses NaN", async () => {
  using device = await openDevice({ backend: "reference" });
  const { source, contents, rowsOf } = randomSource({
    a: { type: "F32", shape: [5] },
    bb: { type: "BF16", shape: [3] },
  });
  using buffer = await loadVector(device, source, ["a", "bb"]);
  const actual = new Float32Array(await device.read(buffer));
  assertEquals([...actual], [...rowsOf("a"), ...rowsOf("bb")]);
  new DataView(contents.get("bb")!.buffer).setUint16(2, 0x7fc0, true);
  await assertRejects(() => loadVector(device, source, ["bb"]), DataError, 'tensor "bb"');
});

Deno.test("rowBlocks() cuts Qwen2's vocabulary for a binding of 128 MiB", () => {
  const limits = { maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 31, maxGridSize: 65535 };
  const blocks = rowBlocks(limits, q8, { rows: 151_936, columns: 896 });
  assertEquals(blocks, [{ firstRow: 0, rows: 149_792 }, { firstRow: 149_792, rows: 2144 }]);
  const narrow = rowBlocks(limits, q4, { rows: 600_000, columns: 32 });
  assertEquals(narrow.map(({ rows }) => rows), [524_280, 75_720]);
  const tiny = { ...limits, maxBindingBytes: 1024 };
  assertThrows(
    () => rowBlocks(tiny, f32, { rows: 8, columns: 64 }),
    RequirementError,
    "1024 bytes",
  );
});

Deno.test("linearCommands() refuse input rows shorter than the matrix", async () => {
  using device = await openDevice({ backend: "reference" });
  const { source } = randomSource({ a: { type: "F32", shape: [8, 33] } });
  using weight = await loadWeight(device, source, ["a"]);
  using input = device.createBuffer("input", 4 * 16 * 64);
  using output = device.createBuffer("output", 64);
  const map = { weight, input, output, inputStride: 32, outputStride: 8, rows: 1 };
  assertThrows(() => linearCommands(device.info, map), RequirementError, "at least 64");
});
