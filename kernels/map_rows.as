// Rows of head groups, predicted from rows of small heads; items are head groups of sequences. See map_rows.ts.

import { sum4 } from "./simd";

@unmanaged
class MapRows {
  state: usize;
  rows: usize;
  readers: usize;
  sources: usize;
  weights: usize;
  mapped: usize;
  groups: u32;
  width: u32;
  heads: u32;
  capacity: u32; // a multiple of 4
}

export function map_rows(args: MapRows, first: u32, last: u32, thread: u32): void {
  const zero = f32x4.splat(0);
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.groups;
    const head_group = sequence * args.groups + item % args.groups;
    const tokens = <usize>min(load<u32>(args.state + 4 * (1 + sequence)) + 1, args.capacity);
    const sources = args.sources + 4 * head_group * args.width;
    const weights = args.weights + 4 * head_group * args.width;
    const reader = <usize>load<u32>(args.readers + 4 * sequence);
    const rows = args.rows + 4 * reader * args.heads * args.capacity;
    const mapped = args.mapped + 4 * head_group * args.capacity;
    const end = ((tokens + 3) & ~3) * 4;
    for (let i: usize = 0; i < end; i += 16) v128.store(mapped + i, zero);
    for (let k: usize = 0; k < <usize>args.width; k++) {
      const weight = load<f32>(weights + 4 * k);
      if (weight == 0) continue;
      const row = rows + 4 * <usize>load<u32>(sources + 4 * k) * args.capacity;
      const weight4 = f32x4.splat(weight);
      for (let i: usize = 0; i < end; i += 16) {
        const part = f32x4.mul(weight4, v128.load(row + i));
        v128.store(mapped + i, f32x4.add(v128.load(mapped + i), part));
      }
    }
    for (let i = tokens; i < end / 4; i++) store<f32>(mapped + 4 * i, 0);
    let sums = zero;
    for (let i: usize = 0; i < end; i += 16) {
      const value = f32x4.max(v128.load(mapped + i), zero);
      v128.store(mapped + i, value);
      sums = f32x4.add(sums, value);
    }
    const sum = sum4(sums);
    if (sum <= 0) continue;
    const sum4x = f32x4.splat(sum);
    for (let i: usize = 0; i < end; i += 16) {
      v128.store(mapped + i, f32x4.div(v128.load(mapped + i), sum4x));
    }
  }
}
