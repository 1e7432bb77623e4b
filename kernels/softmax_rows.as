// Softmax of each query head's scores of all tokens. See softmax_rows.ts.

import { LOG2_E, LOWEST } from "./attention";
import { exp2_4, exp2_of, sum4 } from "./simd";

@unmanaged
class SoftmaxRows {
  state: usize;
  sink_logits: usize;
  rows: usize;
  query_heads: u32;
  capacity: u32; // a multiple of 4
  has_sinks: u32;
}

/** Bytes of a row: those of the tokens of a sequence, the newest one included, up to the next multiple of 4 tokens. */
export function row_bytes(state: usize, capacity: u32, sequence: usize): usize {
  const cached = load<u32>(state + 4 * (1 + sequence));
  return 4 * <usize>min((cached + 4) & ~3, capacity);
}

/** Items are query heads of sequences. */
export function softmax_rows(args: SoftmaxRows, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.query_heads;
    const head = item % args.query_heads;
    const row = args.rows + 4 * (sequence * args.query_heads + head) * args.capacity;
    const bytes = row_bytes(args.state, args.capacity, sequence);
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
