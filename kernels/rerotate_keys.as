// Keys at the positions of their slots; items are head groups of sequences. See rerotate_keys.ts.

import { copy_vectors } from "./attention";
import { entries_of, full_of, list_at, Listed } from "./lists";
import { add_vector, rotate_head, store_head, subtract_vector } from "./rope_cache";

@unmanaged
class RerotateKeys extends Listed {
  state: usize;
  counted: usize;
  rotation: usize;
  keys: usize;
  center: usize;
  rerotated: usize;
  groups_per_layer: u32;
  has_center: u32;
  HEAD_DIM: u32;
  HAS_F32_KEYS: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

export function rerotate_keys(args: RerotateKeys, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const bytes = head_dim * (args.HAS_F32_KEYS != 0 ? 4 : 2);
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let item = first; item < last; item++) {
    const sequence = load<u32>(args.state) + item / args.groups_per_layer;
    const is_counted = load<u32>(args.counted + 4 * <usize>sequence) != 0;
    const group = item % args.groups_per_layer;
    const center = args.center + 4 * <usize>group * head_dim;
    const list = list_at(args, sequence, group);
    const entries = entries_of(args, list);
    const full = <usize>full_of(args, list);
    const newest = full > 0 ? load<u32>(entries + 8 * (full - 1)) : 0;
    for (let entry: usize = 0; entry < full; entry++) {
      const slot = <usize>load<u32>(entries + 8 * entry, 4);
      const dropped = newest - load<u32>(entries + 8 * entry) - <u32>(full - 1 - entry);
      if (!is_counted || dropped == 0) {
        memory.copy(args.rerotated + slot * bytes, args.keys + slot * bytes, bytes);
        continue;
      }
      copy_vectors(args.keys + slot * bytes, args.HAS_F32_KEYS, head_dim, scratch);
      const rotation = args.rotation + 4 * <usize>dropped * head_dim;
      if (args.has_center == 1) add_vector(scratch, center, head_dim);
      rotate_head(scratch, rotation, head_dim, scratch);
      if (args.has_center == 1) subtract_vector(scratch, center, head_dim);
      store_head(scratch, head_dim, args.HAS_F32_KEYS, args.rerotated, slot);
    }
  }
}
