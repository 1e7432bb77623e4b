// Softmax of each query head's scores, and the mean over the heads that rank together. See rank_rows.ts.

import { LOG2_E, LOWEST } from "./attention";
import { exp2_4, exp2_of, sum4 } from "./simd";

@unmanaged
class RankRows {
  state: usize;
  joined: usize;
  sink_logits: usize;
  rows: usize;
  saliency: usize;
  query_heads: u32;
  group_heads: u32;
  group_offset: u32;
  groups: u32;
  capacity: u32; // a multiple of 4
  has_sinks: u32;
}

@unmanaged
class RankMeans extends RankRows {
  layer_groups: u32;
}

/** Bytes of the tokens of a sequence, the newest one included, up to the next multiple of 4 tokens. */
function row_bytes(args: RankRows, sequence: usize): usize {
  const cached = load<u32>(args.state + 4 * (1 + sequence));
  return 4 * <usize>min((cached + 4) & ~3, args.capacity);
}

/** Items are query heads of sequences. */
export function rank_rows_softmax(args: RankRows, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.query_heads;
    const head = item % args.query_heads;
    const row = args.rows + 4 * (sequence * args.query_heads + head) * args.capacity;
    const bytes = row_bytes(args, sequence);
    const sink = args.has_sinks != 0 ? load<f32>(args.sink_logits + 4 * head) * LOG2_E : LOWEST;
    let largest4 = f32x4.splat(sink);
    for (let i: usize = 0; i < bytes; i += 16) {
      largest4 = f32x4.max(largest4, v128.load(row + i));
    }
    const pairs = f32x4.max(largest4, v128.shuffle<f32>(largest4, largest4, 2, 3, 0, 1));
    const largest: f32 = max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
    const splat = f32x4.splat(largest);
    let total = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      const power = exp2_4(f32x4.sub(v128.load(row + i), splat));
      v128.store(row + i, power);
      total = f32x4.add(total, power);
    }
    const factor = f32x4.splat(1 / (sum4(total) + exp2_of(sink - largest)));
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(row + i, f32x4.mul(v128.load(row + i), factor));
    }
  }
}

/** Items are lists of sequences. */
export function rank_rows_mean(args: RankMeans, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.layer_groups;
    const group = item % args.layer_groups;
    const members = <usize>load<u32>(args.joined + 4 * sequence);
    const first_head = group * args.group_heads / members * members;
    const row = args.rows + 4 * (sequence * args.query_heads + first_head) * args.capacity;
    const list = sequence * args.groups + args.group_offset + group;
    const target = args.saliency + 4 * list * args.capacity;
    const bytes = row_bytes(args, sequence);
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
