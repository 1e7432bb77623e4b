// Mean value of the tokens that a head group does not list; items are head groups of sequences. See rest_values.ts.

import { copy_vectors } from "./attention";
import { entries_of, full_of, list_at, Listed } from "./lists";

@unmanaged
class RestValues extends Listed {
  state: usize;
  values: usize;
  sums: usize;
  masses: usize;
  rest: usize;
  groups_per_layer: u32;
  kv_heads: u32;
  rows_per_sequence: u32;
  sum_offset: u32;
  HEAD_DIM: u32;
  HAS_F32_VALUES: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

const HEADER_WORDS: usize = 4;

export function rest_values(args: RestValues, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const bytes = head_dim * (args.HAS_F32_VALUES != 0 ? 4 : 2);
  const value = args.thread_scratch + <usize>thread * args.thread_bytes;
  const listed_sum = value + 4 * head_dim;
  for (let item = first; item < last; item++) {
    const sequence = load<u32>(args.state) + item / args.groups_per_layer;
    const group = item % args.groups_per_layer;
    const list = list_at(args, sequence, group);
    const full = full_of(args, list);
    // A list without full tokens is broken, since the newest token is one.
    const listed: u32 = full == 0 ? 0 : full + load<u32>(list, 4);
    const tokens = load<u32>(args.state + 4 * (1 + <usize>sequence)) + args.rows_per_sequence;
    const head_group = <usize>sequence * args.groups + args.group_offset + group;
    const mass: f32 = listed < tokens ? load<f32>(args.masses + 4 * head_group) : 0;
    const rest = args.rest + 4 * <usize>item * (HEADER_WORDS + head_dim);
    memory.fill(rest, 0, 4 * (HEADER_WORDS + head_dim));
    if (mass == 0) continue;
    store<f32>(rest, mass);
    const entries = entries_of(args, list);
    memory.fill(listed_sum, 0, 4 * head_dim);
    for (let entry: usize = 0; entry < <usize>listed; entry++) {
      const row = <usize>load<u32>(entries + 8 * entry, 4);
      copy_vectors(args.values + row * bytes, args.HAS_F32_VALUES, head_dim, value);
      for (let i: usize = 0; i < head_dim * 4; i += 16) {
        const sum = f32x4.add(v128.load(listed_sum + i), v128.load(value + i));
        v128.store(listed_sum + i, sum);
      }
    }
    const kv_head = group / (args.groups_per_layer / args.kv_heads);
    const head = <usize>(args.sum_offset + sequence * args.kv_heads + kv_head);
    write_mean(args.sums + 4 * head * head_dim, listed_sum, tokens - listed, head_dim, rest + 4 * HEADER_WORDS);
  }
}

/** Divides what is left of a sum by the number of tokens that are left. */
function write_mean(sum: usize, listed: usize, left: u32, head_dim: usize, mean: usize): void {
  const count = f32x4.splat(<f32>left);
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    const difference = f32x4.sub(v128.load(sum + i), v128.load(listed + i));
    v128.store(mean + i, f32x4.div(difference, count));
  }
}
