/**
 * Tests of `kernels/rope_cache.*`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { unpackFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import {
  ropeCache,
  ropeCacheCommand,
  ropeCacheGrid,
  type WritePlace,
} from "../../kernels/rope_cache.ts";
import type { KvFormat } from "../../kernels/attention_shape.ts";
import { kvBits, vectorBytes } from "../../kernels/quantized_rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rowsPerSequence: number;
  readonly cached: readonly number[];
  readonly firstSequence?: number;
  readonly hasNorm?: boolean;
  readonly isExact?: boolean;
  readonly write?: WritePlace;
  readonly ring?: number;
  readonly isKeysOnly?: boolean;
  /** Whether queries have a part of the rotation of their own, as where they are scaled by position. */
  readonly isScaled?: boolean;
  /** Formats of keys and values, if any is of codes. */
  readonly formats?: { readonly keys: KvFormat; readonly values: KvFormat };
  /** Whether something is subtracted from keys. */
  readonly hasCenter?: boolean;
}

const FOUR = { keys: "u4", values: "u4" } as const;
const EIGHT = { keys: "u8", values: "u8" } as const;
const BOTH = { keys: "u8", values: "u4" } as const;

const KEYS_ONLY: Case = {
  queryHeads: 14,
  kvHeads: 2,
  headDim: 64,
  rowsPerSequence: 7,
  cached: [11, 0],
  isExact: true,
  isKeysOnly: true,
  hasNorm: true,
};

/** Rows of codes: heads of one group, of groups that are not whole, of a whole workgroup. */
const ROUNDED: readonly Case[] = [
  { queryHeads: 1, kvHeads: 1, headDim: 8, rowsPerSequence: 1, cached: [0], formats: FOUR },
  { queryHeads: 4, kvHeads: 2, headDim: 24, rowsPerSequence: 3, cached: [6, 0], formats: FOUR },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 7, cached: [11], formats: FOUR },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 7, cached: [11], formats: EIGHT },
  { queryHeads: 5, kvHeads: 5, headDim: 80, rowsPerSequence: 3, cached: [4], formats: EIGHT },
  { queryHeads: 5, kvHeads: 5, headDim: 80, rowsPerSequence: 3, cached: [4], formats: BOTH },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 7, cached: [11], formats: BOTH },
  { queryHeads: 2, kvHeads: 1, headDim: 256, rowsPerSequence: 2, cached: [4], formats: FOUR },
  {
    queryHeads: 12,
    kvHeads: 2,
    headDim: 128,
    rowsPerSequence: 5,
    cached: [61, 130],
    ring: 64,
    hasCenter: true,
    hasNorm: true,
    formats: { keys: "u4", values: "u8" },
  },
  {
    queryHeads: 14,
    kvHeads: 2,
    headDim: 64,
    rowsPerSequence: 1,
    cached: [40, 3],
    write: { capacity: 5, slot: 3 },
    formats: { keys: "u8", values: "f16" },
  },
];

const cases: Case[] = [
  { queryHeads: 1, kvHeads: 1, headDim: 4, rowsPerSequence: 1, cached: [0] },
  { queryHeads: 4, kvHeads: 2, headDim: 8, rowsPerSequence: 3, cached: [5, 0], firstSequence: 1 },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 7, cached: [11] },
  { queryHeads: 5, kvHeads: 5, headDim: 80, rowsPerSequence: 2, cached: [3, 4] },
  { queryHeads: 12, kvHeads: 2, headDim: 128, rowsPerSequence: 1, cached: [31] },
  { queryHeads: 16, kvHeads: 8, headDim: 128, rowsPerSequence: 3, cached: [2], hasNorm: true },
  { queryHeads: 3, kvHeads: 1, headDim: 24, rowsPerSequence: 5, cached: [1, 9], hasNorm: true },
  { queryHeads: 4, kvHeads: 2, headDim: 24, rowsPerSequence: 3, cached: [6, 0], isExact: true },
  {
    queryHeads: 14,
    kvHeads: 2,
    headDim: 64,
    rowsPerSequence: 1,
    cached: [40, 3],
    write: { capacity: 5, slot: 3 },
  },
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 7, cached: [61, 130], ring: 64 },
  KEYS_ONLY,
  { queryHeads: 1, kvHeads: 1, headDim: 4, rowsPerSequence: 1, cached: [0], isScaled: true },
  { queryHeads: 5, kvHeads: 1, headDim: 24, rowsPerSequence: 3, cached: [6, 0], isScaled: true },
  {
    queryHeads: 32,
    kvHeads: 8,
    headDim: 128,
    rowsPerSequence: 7,
    cached: [61],
    isScaled: true,
    hasNorm: true,
    ring: 64,
  },
  { queryHeads: 1, kvHeads: 1, headDim: 4, rowsPerSequence: 1, cached: [3], hasCenter: true },
  { queryHeads: 5, kvHeads: 5, headDim: 80, rowsPerSequence: 3, cached: [4], hasCenter: true },
  {
    queryHeads: 12,
    kvHeads: 2,
    headDim: 128,
    rowsPerSequence: 7,
    cached: [31, 0],
    isExact: true,
    hasCenter: true,
  },
  { ...KEYS_ONLY, hasCenter: true },
  ...ROUNDED,
];

/** Cosines and sines of the usual frequencies. */
function rotationTable(capacity: number, headDim: number): Float32Array {
  const half = headDim / 2;
  return Float32Array.from({ length: capacity * headDim }, (_, index) => {
    const i = index % half;
    const angle = Math.floor(index / headDim) * 10000 ** (-i / half);
    return index % headDim < half ? Math.cos(angle) : Math.sin(angle);
  });
}

/** The same, and behind it the part of queries: another factor from one position to the next. */
function scaledTable(capacity: number, headDim: number): Float32Array {
  const table = rotationTable(capacity, headDim);
  const scaled = table.map((value, index) => value * (1.5 + Math.floor(index / headDim) / 8));
  return Float32Array.of(...table, ...scaled);
}

type RopeRun = ArrayRun<typeof ropeCache>;

function ropeRun(sizes: Case): RopeRun {
  const { queryHeads, kvHeads, headDim, rowsPerSequence, cached, firstSequence = 0 } = sizes;
  const random = seededRandom(6);
  const uniform = () => 2 * random() - 1;
  const sequences = firstSequence + cached.length;
  const rows = cached.length * rowsPerSequence;
  const capacity = Math.max(...cached) + rowsPerSequence + 2;
  const stride = (queryHeads + 2 * kvHeads) * headDim + 32;
  const vectors = sequences * kvHeads * (sizes.write?.capacity ?? sizes.ring ?? capacity);
  const stored = (format: KvFormat) =>
    new Uint32Array(vectors * vectorBytes(format, headDim) / 4).fill(0x7bff7bff);
  const formats = formatsOf(sizes);
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...new Array(firstSequence).fill(0), ...cached),
      rotation: (sizes.isScaled ? scaledTable : rotationTable)(capacity, headDim),
      q_norm: Float32Array.from({ length: headDim }, uniform),
      k_norm: Float32Array.from({ length: headDim }, uniform),
      center: Float32Array.from({ length: kvHeads * headDim }, uniform),
      qkv: Float32Array.from({ length: rows * stride }, uniform),
      keys: stored(formats.keys),
      values: stored(formats.values),
    },
    constants: {
      HEAD_DIM: headDim,
      KEY_BITS: kvBits(formats.keys),
      VALUE_BITS: kvBits(formats.values),
      TILE: sizes.formats ? 256 : 1,
    },
    params: {
      rows,
      rows_per_sequence: rowsPerSequence,
      capacity,
      stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      has_norm: sizes.hasNorm ? 1 : 0,
      epsilon: 1e-6,
      write_capacity: sizes.write?.capacity ?? sizes.ring ?? capacity,
      write_slot: sizes.write?.slot ?? 0xffffffff,
      first_head: sizes.isKeysOnly ? queryHeads : 0,
      heads: sizes.isKeysOnly ? kvHeads : queryHeads + 2 * kvHeads,
      query_rotation: sizes.isScaled ? capacity : 0,
      has_center: sizes.hasCenter ? 1 : 0,
    },
    grid: ropeCacheGrid({ ...sizes, sequences: cached.length }),
  };
}

function formatsOf({ isExact, formats }: Case): NonNullable<Case["formats"]> {
  return formats ?? (isExact ? { keys: "f32", values: "f32" } : { keys: "f16", values: "f16" });
}

/** Views words as f32; the filling of what is not written becomes one large number. */
function floatsOf(words: Uint32Array): Float32Array {
  return new Float32Array(words.buffer as ArrayBuffer, words.byteOffset, words.length);
}

/** Halves differ by at most one step of their own where the two roundings of f32 fall on different sides. */
function assertHalvesClose(actual: Uint32Array, expected: Uint32Array): void {
  const expectedHalves = unpackFloat16(expected);
  const differences = unpackFloat16(actual).map((value, i) =>
    Math.abs(value - expectedHalves[i]!) / Math.max(Math.abs(expectedHalves[i]!), 2 ** -14)
  );
  assertEquals(differences.every((difference) => difference <= 2 ** -10), true);
}

/**
 * Steps and least numbers differ as halves do, codes by at most one, and only where a number lies between two of them; what
 * is not written stays.
 */
function assertRowsClose(
  actual: Uint32Array,
  expected: Uint32Array,
  { format, headDim }: { readonly format: KvFormat; readonly headDim: number },
): void {
  const bits = kvBits(format);
  const [codeWords, rowWords] = [headDim * bits / 32, vectorBytes(format, headDim) / 4];
  const isGroup = (word: number) => word % rowWords >= codeWords;
  const groups = (words: Uint32Array) => words.filter((_, word) => isGroup(word));
  assertHalvesClose(groups(actual), groups(expected));
  let [off, all] = [0, 0];
  expected.forEach((word, index) => {
    if (isGroup(index)) return;
    for (let shift = 0; shift < 32; shift += bits) {
      const codes = [word, actual[index]!].map((one) => (one >>> shift) & (2 ** bits - 1));
      const difference = Math.abs(codes[0]! - codes[1]!);
      assert(difference <= 1, `codes ${codes} in word ${index}`);
      off += difference;
      all++;
    }
  });
  assert(off <= 0.01 * all, `${off} of ${all} codes differ`);
}

for (const sizes of cases) {
  kernelTest({
    name: `ropeCache matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = ropeRun(sizes);
      const actual = await runKernel(ropeCache, run, { device });
      const expected = await runReference(ropeCache, run);
      assertClose(actual.qkv, expected.qkv, { terms: sizes.headDim + 4, magnitude: 2 });
      for (const name of ["keys", "values"] as const) {
        const format = formatsOf(sizes)[name];
        if (kvBits(format) < 16) {
          assertRowsClose(actual[name], expected[name], { format, headDim: sizes.headDim });
        } else if (!sizes.isExact) assertHalvesClose(actual[name], expected[name]);
        else {
          const allowance = { terms: sizes.headDim + 4, magnitude: 2 };
          assertClose(floatsOf(actual[name]), floatsOf(expected[name]), allowance);
        }
      }
    },
  });
}

kernelTest({
  name: "ropeCache keeps the norm of every query pair and leaves what is not a query",
  async fn(device) {
    const sizes = cases[2]!;
    const run = ropeRun(sizes);
    const { qkv } = await runKernel(ropeCache, run, { device });
    const { headDim, queryHeads } = sizes;
    const pairNorms = (values: Float32Array) =>
      values.map((value, i) =>
        i % run.params.stride < queryHeads * headDim &&
          i % run.params.stride % headDim < headDim / 2
          ? Math.hypot(value, values[i + headDim / 2]!)
          : 0
      );
    assertClose(pairNorms(qkv), pairNorms(run.buffers.qkv), { terms: 4, magnitude: 2 });
    const isOther = (_: number, i: number) => i % run.params.stride >= queryHeads * headDim;
    assertEquals(qkv.filter(isOther), run.buffers.qkv.filter(isOther));
  },
});

kernelTest({
  name: "ropeCache scales queries by their part of the rotation, and no keys or values",
  async fn(device) {
    const sizes = cases.find(({ isScaled, rowsPerSequence }) => isScaled && rowsPerSequence > 1)!;
    const [scaled, plain] = [
      await runKernel(ropeCache, ropeRun(sizes), { device }),
      await runKernel(ropeCache, ropeRun({ ...sizes, isScaled: false }), { device }),
    ];
    assertEquals([scaled.keys, scaled.values], [plain.keys, plain.values]);
    const { params: { stride } } = ropeRun(sizes);
    const { queryHeads, headDim, rowsPerSequence, cached } = sizes;
    const expected = plain.qkv.map((value, i) => {
      if (i % stride >= queryHeads * headDim) return value;
      const row = Math.floor(i / stride);
      const position = cached[Math.floor(row / rowsPerSequence)]! + row % rowsPerSequence;
      return value * (1.5 + position / 8);
    });
    assertClose(scaled.qkv, expected, { terms: headDim, magnitude: 5 });
  },
});

kernelTest({
  name: "ropeCache gives scores that depend on the difference of positions only",
  async fn(device) {
    const headDim = 32;
    const sizes = { queryHeads: 1, kvHeads: 1, headDim, rowsPerSequence: 40, cached: [0] };
    const run = ropeRun(sizes);
    const { stride } = run.params;
    const row = run.buffers.qkv.slice(0, stride);
    for (let i = 0; i < 40; i++) run.buffers.qkv.set(row, i * stride);
    const { qkv, keys } = await runKernel(ropeCache, run, { device });
    const halves = unpackFloat16(keys);
    const score = (query: number, key: number) => {
      let sum = 0;
      for (let i = 0; i < headDim; i++) {
        sum += qkv[query * stride + i]! * halves[key * headDim + i]!;
      }
      return sum;
    };
    for (const distance of [0, 1, 7, 20]) {
      const scores = [20, 25, 39].map((query) => score(query, query - distance));
      const spread = Math.max(...scores) - Math.min(...scores);
      assertEquals(spread < headDim * 2 ** -10, true, `spread ${spread} at distance ${distance}`);
    }
    assertEquals(Math.abs(score(20, 20) - score(20, 5)) > 0.01, true);
  },
});

kernelTest({
  name: "ropeCache writes nothing past the capacity and nothing of other sequences",
  async fn(device) {
    const run = ropeRun({ ...cases[1]!, cached: [5, 0] });
    const { capacity } = run.params;
    run.buffers.state[2] = capacity - 1;
    const { keys, values } = await runKernel(ropeCache, run, { device });
    const expected = await runReference(ropeCache, run);
    assertHalvesClose(keys, expected.keys);
    const untouched = (words: Uint32Array) => words.filter((word) => word === 0x7bff7bff).length;
    const written = (1 + 3) * 2 * 4; // one row of the first, three of the second; heads; words
    assertEquals([untouched(keys), untouched(values)], [
      keys.length - written,
      keys.length - written,
    ]);
  },
});

kernelTest({
  name: "ropeCache writes to one slot what it would write to the position's place",
  async fn(device) {
    const sizes = cases.find(({ write }) => write !== undefined)!;
    const { write: _, ...plain } = sizes;
    const { keys, values } = await runKernel(ropeCache, ropeRun(sizes), { device });
    const whole = ropeRun(plain);
    const expected = await runKernel(ropeCache, whole, { device });
    const rowWords = sizes.headDim / 2;
    for (let head = 0; head < sizes.cached.length * sizes.kvHeads; head++) {
      const position = sizes.cached[Math.floor(head / sizes.kvHeads)]!;
      const from = (head * whole.params.capacity + position) * rowWords;
      const to = (head * sizes.write!.capacity + sizes.write!.slot) * rowWords;
      assertEquals(keys.subarray(to, to + rowWords), expected.keys.subarray(from, from + rowWords));
      assertEquals(
        values.subarray(to, to + rowWords),
        expected.values.subarray(from, from + rowWords),
      );
    }
    const untouched = keys.filter((word) => word === 0x7bff7bff).length;
    assertEquals(untouched, keys.length - 4 * rowWords);
  },
});

kernelTest({
  name: "ropeCache writes the same keys alone, and leaves queries and values",
  async fn(device) {
    const run = ropeRun(KEYS_ONLY);
    const alone = await runKernel(ropeCache, run, { device });
    const whole = await runKernel(ropeCache, ropeRun({ ...KEYS_ONLY, isKeysOnly: false }), {
      device,
    });
    assertEquals(alone.keys, whole.keys);
    assertEquals([alone.qkv, alone.values], [run.buffers.qkv, run.buffers.values]);
  },
});

kernelTest({
  name: "ropeCache keeps what differs between keys beside a large bias that hardly rotates",
  async fn(device) {
    const sizes = { queryHeads: 2, kvHeads: 2, headDim: 8, rowsPerSequence: 9, cached: [0] };
    const run = ropeRun({ ...sizes, hasCenter: true });
    const { buffers: { qkv, center, rotation }, params: { stride, capacity } } = run;
    const large = (i: number) => i % 4 === 3 ? 300 * (-1) ** i : 0;
    center.set(center.map((_, i) => large(i % 8)));
    for (let position = 0; position < capacity; position++) {
      [rotation[8 * position + 3], rotation[8 * position + 7]] = [1, 0];
    }
    for (let row = 0; row < 9; row++) {
      for (let i = 0; i < 16; i++) qkv[row * stride + 16 + i]! += large(i % 8);
    }
    const errors = [1, 0].map(async (has_center) => {
      const params = { ...run.params, has_center };
      const [stored, exact] = [
        await runKernel(ropeCache, { ...run, params }, { device }),
        await runReference(ropeCache, {
          ...run,
          buffers: { ...run.buffers, keys: new Uint32Array(2 * run.buffers.keys.length) },
          constants: { ...run.constants, KEY_BITS: 32 },
          params,
        }),
      ];
      const exactKeys = floatsOf(exact.keys);
      let largest = 0;
      unpackFloat16(stored.keys).forEach((value, i) => {
        const isWritten = Math.floor(i / 8) % capacity < 9;
        if (isWritten) largest = Math.max(largest, Math.abs(value - exactKeys[i]!));
      });
      return largest;
    });
    const [centered, plain] = await Promise.all(errors);
    assertEquals(centered! <= 2 ** -10 && plain! > 2 ** -5, true, `${centered} and ${plain}`);
  },
});

Deno.test("ropeCacheCommand() wants both norm weights or none", () => {
  const [buffer] = [{ label: "q_norm", byteLength: 4, [Symbol.dispose]() {} }];
  const shape = {
    sequences: 1,
    rowsPerSequence: 1,
    capacity: 8,
    stride: 64,
    queryHeads: 2,
    kvHeads: 1,
    headDim: 8,
  };
  const buffers = { q_norm: buffer } as unknown as Parameters<typeof ropeCacheCommand>[0];
  assertThrows(() => ropeCacheCommand(buffers, shape), RequirementError, "must be given together");
  assertThrows(
    () => ropeCacheCommand(buffers, { ...shape, headDim: 10 }),
    RequirementError,
    "headDim / 4 must be an integer from 1 to 64: current value is 2.5",
  );
  const plain = {} as typeof buffers;
  const write = { capacity: 4, slot: 4 };
  assertThrows(
    () => ropeCacheCommand(plain, { ...shape, write }),
    RequirementError,
    "slot must be an integer from 0 to 3: current value is 4",
  );
  assertThrows(
    () => ropeCacheCommand(plain, { ...shape, rowsPerSequence: 2, write }),
    RequirementError,
    "Cannot write to one slot: rowsPerSequence",
  );
});
