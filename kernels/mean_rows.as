// Mean of the rows of the query heads that rank together. See mean_rows.ts.

import { row_bytes } from "./softmax_rows";

@unmanaged
class MeanRows {
  state: usize;
  joined: usize;
  rows: usize;
  saliency: usize;
  query_heads: u32;
  group_heads: u32;
  group_offset: u32;
  groups: u32;
  capacity: u32; // a multiple of 4
  layer_groups: u32;
}

/** Items are lists of sequences. */
export function mean_rows(args: MeanRows, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.layer_groups;
    const group = item % args.layer_groups;
    const members = <usize>load<u32>(args.joined + 4 * sequence);
    const first_head = group * args.group_heads / members * members;
    const row = args.rows + 4 * (sequence * args.query_heads + first_head) * args.capacity;
    const list = sequence * args.groups + args.group_offset + group;
    const target = args.saliency + 4 * list * args.capacity;
    const bytes = row_bytes(args.state, args.capacity, sequence);
    const stride = 4 * <usize>args.capacity;
    const factor = f32x4.splat(1 / <f32>members);
    for (let i: usize = 0; i < bytes; i += 16) {
      let sum = v128.load(row + i);
      for (let member: usize = 1; member < members; member++) {
        sum = f32x4.add(sum, v128.load(row + member * stride + i));
      }
      v128.store(target + i, f32x4.mul(sum, factor));
    }
  }
}
