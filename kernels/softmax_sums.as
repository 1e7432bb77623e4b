// Attention to every key with its own softmax; items are query heads of blocks of rows. See softmax_sums.ts.

import { Attention, hide_unseen, load_keys, Row, ROW_BYTES, score_pair, softmax_tile, start_part, TILE } from "./attention";

@unmanaged
class SoftmaxSums extends Attention {
  rows: u32;
  sums: usize;
  sinks: usize;
  block_rows: u32;
}

const PART_BYTES: usize = 16;

/** Leaves the exponentials of the scores of two rows with the keys before `seen`, and their sums in the parts. */
function attend(args: SoftmaxSums, a: Row, b: Row, tiles: usize, seen: usize, sink: usize): void {
  const scores_a = a.scores;
  const scores_b = b.scores;
  for (let key: usize = 0; key < seen; key += TILE) {
    const count = min(TILE, seen - key);
    a.scores = scores_a + 4 * key;
    b.scores = scores_b + 4 * key;
    const tile = tiles + 4 * key * args.head_dim;
    score_pair(args, a.query, b.query, tile, count, a.scores, b.scores);
    hide_unseen(a, args.window, <i32>key, <i32>count);
    hide_unseen(b, args.window, <i32>key, <i32>count);
  }
  a.scores = scores_a;
  b.scores = scores_b;
  start_part(a.part, 0, sink);
  start_part(b.part, 0, sink);
  softmax_tile(a, seen);
  softmax_tile(b, seen);
}

/** Adds the attention of a row to totals. */
function add_attention(row: Row, seen: usize, totals: usize): void {
  const factor = f32x4.splat(1 / load<f32>(row.part, 4));
  for (let i: usize = 0; i < 4 * seen; i += 16) {
    const attention = f32x4.mul(v128.load(row.scores + i), factor);
    v128.store(totals + i, f32x4.add(v128.load(totals + i), attention));
  }
}

export function softmax_sums(args: SoftmaxSums, first: u32, last: u32, thread: u32): void {
  const padded = (<usize>args.capacity + TILE - 1) & ~(TILE - 1);
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  const a = changetype<Row>(scratch);
  const b = changetype<Row>(scratch + ROW_BYTES);
  a.part = scratch + 2 * ROW_BYTES;
  b.part = a.part + PART_BYTES;
  a.scores = b.part + PART_BYTES;
  b.scores = a.scores + 4 * padded;
  a.visible = 0;
  b.visible = 0;
  const totals = b.scores + 4 * padded;
  const tiles = totals + 4 * padded;
  const sequence = load<u32>(args.state);
  const start = load<u32>(args.state + 4 * (1 + <usize>sequence));
  for (let item = first; item < last; item++) {
    const head = item % args.query_heads;
    const first_row = item / args.query_heads * args.block_rows;
    const end = min(start + min(first_row + args.block_rows, args.rows), args.capacity);
    if (start + first_row >= end) continue;
    const kv_head = head / (args.query_heads / args.kv_heads);
    load_keys(args, sequence * args.kv_heads + kv_head, 0, end, tiles);
    memory.fill(totals, 0, 4 * padded);
    const sink = args.sinks != 0 ? args.sinks + 4 * <usize>head : 0;
    for (let position = start + first_row; position < end; position += 2) {
      const other = min(position + 1, end - 1);
      const heads = args.qkv + 4 * <usize>head * args.head_dim;
      a.query = heads + 4 * <usize>(position - start) * args.stride;
      b.query = heads + 4 * <usize>(other - start) * args.stride;
      a.position = position;
      b.position = other;
      attend(args, a, b, tiles, other + 1, sink);
      add_attention(a, other + 1, totals);
      if (other > position) add_attention(b, other + 1, totals);
    }
    const place = args.sums + 4 * <usize>(item * args.capacity);
    for (let i: usize = 0; i < 4 * <usize>end; i += 4) {
      store<f32>(place + i, load<f32>(place + i) + load<f32>(totals + i));
    }
  }
}
