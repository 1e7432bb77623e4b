// What the keys of a page can score at most; items are chunks of pages of query heads. See page_scores.ts.

import { LOG2_E, LOWEST } from "./attention";
import { first_halves4, sum4, tanh4 } from "./simd";

@unmanaged
class PageScores {
  state: usize;
  qkv: usize;
  bounds: usize;
  rows: usize;
  stride: u32;
  query_heads: u32;
  kv_heads: u32;
  capacity: u32;
  page_tokens: u32;
  window: u32;
  softcap: f32;
  scale: f32;
  chunks: u32;
  chunk_pages: u32;
  HEAD_DIM: u32; // a multiple of 4
}

/** Score of a page. */
function bound_of(args: PageScores, query: usize, place: usize): v128 {
  const largest = place + 2 * <usize>args.HEAD_DIM;
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < 2 * <usize>args.HEAD_DIM; i += 8) {
    const q = v128.load(query + 2 * i);
    const low = f32x4.mul(q, first_halves4(v128.load64_zero(place + i)));
    const high = f32x4.mul(q, first_halves4(v128.load64_zero(largest + i)));
    sum = f32x4.add(sum, f32x4.max(low, high));
  }
  const score = f32x4.splat(sum4(sum) * args.scale);
  if (args.softcap == 0) return score;
  return f32x4.mul(tanh4(score), f32x4.splat(args.softcap * LOG2_E));
}

export function page_scores(args: PageScores, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const all = (args.capacity + args.page_tokens - 1) / args.page_tokens;
  const lowest = f32x4.splat(LOWEST);
  for (let item = first; item < last; item++) {
    const pair = item / args.chunks;
    const row = pair / args.query_heads;
    const head = <usize>(pair % args.query_heads);
    const sequence = <usize>load<u32>(args.state) + row;
    const kv_head = sequence * args.kv_heads + head * args.kv_heads / args.query_heads;
    const position = load<u32>(args.state + 4 * (1 + sequence));
    const end = min((position + 4) & ~3, args.capacity);
    const query = args.qkv + 4 * (<usize>row * args.stride + head * head_dim);
    const target = args.rows + 4 * (sequence * args.query_heads + head) * args.capacity;
    const first_page = item % args.chunks * args.chunk_pages;
    for (let page = first_page; page < first_page + args.chunk_pages; page++) {
      const begin = page * args.page_tokens;
      if (begin >= end) break;
      const score = bound_of(args, query, args.bounds + 4 * (kv_head * all + page) * head_dim);
      for (let token = begin; token < min(begin + args.page_tokens, end); token += 4) {
        const tokens = i32x4.add(i32x4.splat(token), i32x4(0, 1, 2, 3));
        let seen = i32x4.le_s(tokens, i32x4.splat(position));
        if (args.window != 0) {
          seen = v128.and(seen, i32x4.gt_s(tokens, i32x4.splat(position - args.window)));
        }
        v128.store(target + 4 * <usize>token, v128.bitselect(score, lowest, seen));
      }
    }
  }
}
