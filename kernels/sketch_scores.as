// Scores of all tokens by the sketches of their keys; items are chunks of tokens of KV heads. See sketch_scores.ts.
//
// Levels and queries are whole numbers, so that sums are exact in any order.

import { LOG2_E, LOWEST } from "./attention";
import { halves4, tanh4 } from "./simd";

@unmanaged
class SketchScores {
  state: usize;
  codes: usize;
  scales: usize;
  queries: usize;
  factors: usize;
  levels: usize;
  rows: usize;
  query_heads: u32;
  kv_heads: u32;
  capacity: u32;
  window: u32;
  softcap: f32;
  bits: u32;
  words: u32;
  chunk_tokens: u32;
  chunks: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** Sums of the pairs of each of four tokens, as floats. */
// @ts-ignore: decorator
@inline
function joined4(low: v128, high: v128): v128 {
  const even = v128.shuffle<i32>(low, high, 0, 2, 4, 6);
  const odd = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
  return f32x4.convert_i32x4_s(i32x4.add(even, odd));
}

/** Writes the scores of four tokens by a query head, numbered over all sequences. */
// @ts-ignore: decorator
@inline
function write4(args: SketchScores, head: usize, token: u32, products: v128, scales: v128, seen: v128): void {
  const factors = args.factors + 8 * head;
  const scaled = f32x4.mul(f32x4.mul(products, scales), v128.load_splat<f32>(factors));
  let scores = f32x4.add(scaled, v128.load_splat<f32>(factors + 4));
  if (args.softcap > 0) scores = f32x4.mul(tanh4(scores), f32x4.splat(args.softcap * LOG2_E));
  const target = args.rows + 4 * (head * args.capacity + token);
  v128.store(target, v128.bitselect(scores, f32x4.splat(LOWEST), seen));
}

/** Scores of four tokens by one head; `query` are its whole numbers of 16 bits. */
function score1(args: SketchScores, codes: usize, table: v128, query: usize, head: usize, token: u32, scales: v128, seen: v128): void {
  const mask = i8x16.splat(<i8>((<i32>1 << <i32>args.bits) - 1));
  const end = codes + 16 * <usize>args.words;
  let low = i32x4.splat(0);
  let high = low;
  for (let shift: u32 = 0; shift < 8; shift += args.bits) {
    for (let place = codes; place < end; place += 16, query += 8) {
      const code = v128.and(i32x4.shr_u(v128.load(place), <i32>shift), mask);
      const level = i8x16.swizzle(table, code);
      const q = v128.load64_splat(query);
      low = i32x4.add(low, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(level), q));
      high = i32x4.add(high, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(level), q));
    }
  }
  write4(args, head, token, joined4(low, high), scales, seen);
}

/** The same by three adjacent heads. */
function score3(args: SketchScores, codes: usize, table: v128, query: usize, head: usize, token: u32, scales: v128, seen: v128): void {
  const mask = i8x16.splat(<i8>((<i32>1 << <i32>args.bits) - 1));
  const end = codes + 16 * <usize>args.words;
  const stride = 2 * <usize>args.words * (32 / args.bits);
  let low_a = i32x4.splat(0);
  let high_a = low_a;
  let low_b = low_a;
  let high_b = low_a;
  let low_c = low_a;
  let high_c = low_a;
  let query_b = query + stride;
  let query_c = query_b + stride;
  for (let shift: u32 = 0; shift < 8; shift += args.bits) {
    for (let place = codes; place < end; place += 16) {
      const code = v128.and(i32x4.shr_u(v128.load(place), <i32>shift), mask);
      const level = i8x16.swizzle(table, code);
      const low = i16x8.extend_low_i8x16_s(level);
      const high = i16x8.extend_high_i8x16_s(level);
      let q = v128.load64_splat(query);
      low_a = i32x4.add(low_a, i32x4.dot_i16x8_s(low, q));
      high_a = i32x4.add(high_a, i32x4.dot_i16x8_s(high, q));
      q = v128.load64_splat(query_b);
      low_b = i32x4.add(low_b, i32x4.dot_i16x8_s(low, q));
      high_b = i32x4.add(high_b, i32x4.dot_i16x8_s(high, q));
      q = v128.load64_splat(query_c);
      low_c = i32x4.add(low_c, i32x4.dot_i16x8_s(low, q));
      high_c = i32x4.add(high_c, i32x4.dot_i16x8_s(high, q));
      query += 8;
      query_b += 8;
      query_c += 8;
    }
  }
  write4(args, head, token, joined4(low_a, high_a), scales, seen);
  write4(args, head + 1, token, joined4(low_b, high_b), scales, seen);
  write4(args, head + 2, token, joined4(low_c, high_c), scales, seen);
}

/** Rounds a query's whole numbers to 16 bits. */
function narrow_query(source: usize, elements: usize, target: usize): void {
  for (let i: usize = 0; i < elements; i += 8) {
    const low = i32x4.trunc_sat_f32x4_s(v128.load(source + 4 * i));
    const high = i32x4.trunc_sat_f32x4_s(v128.load(source + 4 * i, 16));
    v128.store(target + 2 * i, i16x8.narrow_i32x4_s(low, high));
  }
}

export function sketch_scores(args: SketchScores, first: u32, last: u32, thread: u32): void {
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  const group = args.query_heads / args.kv_heads;
  const elements = <usize>args.words * (32 / args.bits);
  for (let level: usize = 0; level < 16; level++) {
    const known = level < <usize>1 << args.bits;
    store<i8>(scratch + level, known ? <i8>load<f32>(args.levels + 4 * level) : 0);
  }
  const table = v128.load(scratch);
  const narrow = scratch + 16;
  for (let item = first; item < last; item++) {
    const pair = item / args.chunks;
    const sequence = <usize>load<u32>(args.state) + pair / args.kv_heads;
    const kv_head = sequence * args.kv_heads + pair % args.kv_heads;
    const first_head = sequence * args.query_heads + <usize>(pair % args.kv_heads * group);
    const position = load<u32>(args.state + 4 * (1 + sequence));
    const begin = item % args.chunks * args.chunk_tokens;
    const end = min(begin + args.chunk_tokens, min((position + 4) & ~3, args.capacity));
    if (begin >= end) continue;
    narrow_query(args.queries + 4 * first_head * elements, group * elements, narrow);
    for (let token = begin; token < end; token += 4) {
      const codes = args.codes + 4 * (kv_head * args.capacity + token) * args.words;
      const halves = v128.load64_zero(args.scales + 2 * (kv_head * args.capacity + token));
      const scales = halves4(v128.shuffle<i16>(halves, i32x4.splat(0), 0, 8, 1, 8, 2, 8, 3, 8));
      const tokens = i32x4.add(i32x4.splat(token), i32x4(0, 1, 2, 3));
      let seen = i32x4.le_s(tokens, i32x4.splat(position));
      if (args.window != 0) {
        seen = v128.and(seen, i32x4.gt_s(tokens, i32x4.splat(position - args.window)));
      }
      let head: usize = 0;
      for (; head + 3 <= <usize>group; head += 3) {
        const query = narrow + 2 * head * elements;
        score3(args, codes, table, query, first_head + head, token, scales, seen);
      }
      for (; head < <usize>group; head++) {
        const query = narrow + 2 * head * elements;
        score1(args, codes, table, query, first_head + head, token, scales, seen);
      }
    }
  }
}
