// The least and the largest of each element over the keys of a page; items are pages of KV heads. See page_bounds.ts.

import { first_halves4, to_halves4 } from "./simd";

@unmanaged
class PageBounds {
  state: usize;
  keys: usize;
  bounds: usize;
  rows_per_sequence: u32;
  kv_heads: u32;
  capacity: u32;
  key_capacity: u32;
  key_slot: u32;
  page_tokens: u32;
  pages: u32; // that new keys may belong to
  HEAD_DIM: u32; // a multiple of 4
  HAS_F32_KEYS: u32;
}

const NOT_FIXED: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function load_halves(place: usize): v128 {
  return first_halves4(v128.load64_zero(place));
}

/** Writes four floats as halves. */
function store_halves(place: usize, x: v128): void {
  const bits = to_halves4(x);
  const packed = v128.shuffle<i16>(bits, bits, 0, 2, 4, 6, 0, 2, 4, 6);
  v128.store64_lane(place, packed, 0);
}

export function page_bounds(args: PageBounds, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const size: usize = args.HAS_F32_KEYS != 0 ? 4 : 2;
  const all = (args.capacity + args.page_tokens - 1) / args.page_tokens;
  for (let item = first; item < last; item++) {
    const pair = item / args.pages;
    const sequence = <usize>load<u32>(args.state) + pair / args.kv_heads;
    const head = sequence * args.kv_heads + pair % args.kv_heads;
    const begin = load<u32>(args.state + 4 * (1 + sequence));
    const end = min(begin + args.rows_per_sequence, args.capacity);
    const page = begin / args.page_tokens + item % args.pages;
    const from = max(begin, page * args.page_tokens);
    const to = min(end, (page + 1) * args.page_tokens);
    if (from >= to) continue;
    const place = args.bounds + 4 * (head * all + page) * head_dim;
    for (let i: usize = 0; i < head_dim; i += 4) {
      let least = f32x4.splat(65504);
      let largest = f32x4.splat(-65504);
      if (from % args.page_tokens != 0) {
        least = load_halves(place + 2 * i);
        largest = load_halves(place + 2 * (head_dim + i));
      }
      for (let token = from; token < to; token++) {
        const slot = args.key_slot == NOT_FIXED ? token : args.key_slot;
        const source = args.keys + ((head * args.key_capacity + slot) * head_dim + i) * size;
        const key = args.HAS_F32_KEYS != 0 ? v128.load(source) : load_halves(source);
        least = f32x4.min(least, key);
        largest = f32x4.max(largest, key);
      }
      store_halves(place + 2 * i, least);
      store_halves(place + 2 * (head_dim + i), largest);
    }
  }
}
