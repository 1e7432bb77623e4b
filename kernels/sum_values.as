// Running sums of values; items are KV heads of sequences. See sum_values.ts.

import { copy_vectors } from "./attention";

@unmanaged
class SumValues {
  ranges: usize;
  values: usize;
  sums: usize;
  kv_heads: u32;
  slots: u32;
  slot: u32;
  sum_offset: u32;
  HEAD_DIM: u32;
  HAS_F32_VALUES: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

const NOT_FIXED: u32 = 0xffffffff;

export function sum_values(args: SumValues, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const bytes = head_dim * (args.HAS_F32_VALUES != 0 ? 4 : 2);
  const value = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let head = first; head < last; head++) {
    const range = args.ranges + 8 * <usize>(head / args.kv_heads);
    const begin = load<u32>(range);
    const end = load<u32>(range, 4);
    if (begin >= end) continue;
    const sum = args.sums + 4 * <usize>(args.sum_offset + head) * head_dim;
    if (begin == 0) memory.fill(sum, 0, 4 * head_dim);
    for (let token = begin; token < end; token++) {
      const slot = args.slot == NOT_FIXED ? token : args.slot;
      const source = args.values + (<usize>head * args.slots + slot) * bytes;
      copy_vectors(source, args.HAS_F32_VALUES, head_dim, value);
      add_vector(sum, value, head_dim);
    }
  }
}

/** Adds one vector of floats to another; `head_dim` is a multiple of 4. */
// @ts-ignore: decorator
@inline
function add_vector(sum: usize, value: usize, head_dim: usize): void {
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    v128.store(sum + i, f32x4.add(v128.load(sum + i), v128.load(value + i)));
  }
}
