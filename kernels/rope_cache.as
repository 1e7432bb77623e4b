// Rotation of queries and keys, and the write to the cache; items are heads of rows. See rope_cache.ts.

import { halves4, sum4, to_halves4 } from "./simd";

@unmanaged
class RopeCache {
  state: usize;
  rotation: usize;
  q_norm: usize;
  k_norm: usize;
  center: usize;
  qkv: usize;
  keys: usize;
  values: usize;
  rows_per_sequence: u32;
  capacity: u32;
  stride: u32;
  query_heads: u32;
  kv_heads: u32;
  has_norm: u32;
  epsilon: f32;
  write_capacity: u32;
  write_slot: u32;
  first_head: u32;
  heads: u32;
  query_rotation: u32;
  has_center: u32;
  HEAD_DIM: u32;
  KEY_BITS: u32;
  VALUE_BITS: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

const NOT_FIXED: u32 = 0xffffffff;

/** Multiplies a head by weights and by what makes its mean square 1. */
function normalize(head: usize, weight: usize, head_dim: usize, epsilon: f32, target: usize): void {
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    const x = v128.load(head + i);
    squares = f32x4.add(squares, f32x4.mul(x, x));
  }
  const factor = f32x4.splat(1 / sqrt(sum4(squares) / <f32>head_dim + epsilon));
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    const scaled = f32x4.mul(v128.load(head + i), factor);
    v128.store(target + i, f32x4.mul(scaled, v128.load(weight + i)));
  }
}

/** Rotates pairs of elements half a head apart; `rotation` holds their cosines, then their sines. */
export function rotate_head(head: usize, rotation: usize, head_dim: usize, target: usize): void {
  const half = head_dim * 2;
  const whole = half & ~15;
  for (let i: usize = 0; i < whole; i += 16) {
    const a = v128.load(head + i);
    const b = v128.load(head + half + i);
    const cosine = v128.load(rotation + i);
    const sine = v128.load(rotation + half + i);
    v128.store(target + i, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
    v128.store(target + half + i, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
  }
  for (let i = whole; i < half; i += 4) {
    const a = load<f32>(head + i);
    const b = load<f32>(head + half + i);
    const cosine = load<f32>(rotation + i);
    const sine = load<f32>(rotation + half + i);
    store<f32>(target + i, a * cosine - b * sine);
    store<f32>(target + half + i, b * cosine + a * sine);
  }
}

/** Adds a vector to a head, in place. */
export function add_vector(head: usize, vector: usize, head_dim: usize): void {
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    v128.store(head + i, f32x4.add(v128.load(head + i), v128.load(vector + i)));
  }
}

/** Subtracts a vector from a head, in place. */
export function subtract_vector(head: usize, vector: usize, head_dim: usize): void {
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    v128.store(head + i, f32x4.sub(v128.load(head + i), v128.load(vector + i)));
  }
}

/** Stores a head as halves or floats, as head vector `slot`. */
export function store_head(
  head: usize,
  head_dim: usize,
  is_f32: u32,
  stored: usize,
  slot: usize,
): void {
  if (is_f32 != 0) {
    memory.copy(stored + 4 * slot * head_dim, head, 4 * head_dim);
    return;
  }
  const target = stored + 2 * slot * head_dim;
  for (let i: usize = 0; i < head_dim; i += 4) {
    const halves = to_halves4(v128.load(head + 4 * i));
    v128.store_lane<u64>(target + 2 * i, i16x8.narrow_i32x4_u(halves, halves), 0);
  }
}

/** The smallest and the largest of some numbers, in the first two elements. */
function bounds(numbers: usize, count: usize): v128 {
  let least = v128.load(numbers);
  let most = least;
  for (let i: usize = 4; i < count; i += 4) {
    const x = v128.load(numbers + 4 * i);
    least = f32x4.pmin(least, x);
    most = f32x4.pmax(most, x);
  }
  least = f32x4.pmin(least, v128.shuffle<f32>(least, least, 2, 3, 0, 1));
  most = f32x4.pmax(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  least = f32x4.pmin(least, v128.shuffle<f32>(least, least, 1, 0, 3, 2));
  most = f32x4.pmax(most, v128.shuffle<f32>(most, most, 1, 0, 3, 2));
  return v128.shuffle<f32>(least, most, 0, 4, 1, 5);
}

/** Codes of four numbers, in 32 bits each. */
// @ts-ignore: decorator
@inline
function codes4(numbers: usize, least: v128, factor: f32, most: u32): v128 {
  const steps = f32x4.mul(f32x4.sub(v128.load(numbers), least), f32x4.splat(factor));
  const nearest = i32x4.trunc_sat_f32x4_s(f32x4.floor(f32x4.add(steps, f32x4.splat(0.5))));
  return i32x4.min_s(i32x4.max_s(nearest, i32x4.splat(0)), i32x4.splat(most));
}

/** Four codes as bytes of a word. */
// @ts-ignore: decorator
@inline
function bytes4(codes: v128): u32 {
  const halves = i16x8.narrow_i32x4_u(codes, codes);
  return i32x4.extract_lane(i8x16.narrow_i16x8_u(halves, halves), 0);
}

/** Rounds a head to a row of codes, as head vector `slot`; see quantized_rows.ts. */
function round_head(head: usize, head_dim: usize, bits: u32, stored: usize, slot: usize): void {
  const code_bytes = head_dim * bits / 8;
  const row = stored + slot * (code_bytes + 4 * ((head_dim + 31) / 32));
  const most: u32 = (1 << bits) - 1;
  for (let first: usize = 0; first < head_dim; first += 32) {
    const last = min(head_dim, first + 32);
    const ends = bounds(head + 4 * first, last - first);
    const low = i32x4.extract_lane(to_halves4(ends), 0);
    const least = halves4(i32x4.splat(low));
    const range = f32x4.sub(f32x4.splat(f32x4.extract_lane(ends, 1)), least);
    const step = i32x4.extract_lane(to_halves4(f32x4.div(range, f32x4.splat(<f32>most))), 0);
    store<u32>(row + code_bytes + first / 8, step | (low << 16));
    const size = f32x4.extract_lane(halves4(i32x4.splat(step)), 0);
    const factor: f32 = size > 0 ? 1 / size : 0;
    for (let i = first; i < last; i += 8) {
      const near = bytes4(codes4(head + 4 * i, least, factor, most));
      const far = bytes4(codes4(head + 4 * i + 16, least, factor, most));
      if (bits == 4) {
        store<u32>(row + i / 2, near | (far << 4));
      } else {
        store<u32>(row + i, near);
        store<u32>(row + i, far, 4);
      }
    }
  }
}

/** Stores a head in any format. */
// @ts-ignore: decorator
@inline
function keep_head(head: usize, head_dim: usize, bits: u32, stored: usize, slot: usize): void {
  if (bits < 16) round_head(head, head_dim, bits, stored, slot);
  else store_head(head, head_dim, bits == 32 ? 1 : 0, stored, slot);
}

export function rope_cache(args: RopeCache, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let item = first; item < last; item++) {
    const row = item / args.heads;
    const head = args.first_head + item % args.heads;
    const sequence = load<u32>(args.state) + row / args.rows_per_sequence;
    const position = load<u32>(args.state + 4 * <usize>(1 + sequence)) +
      row % args.rows_per_sequence;
    if (position >= args.capacity) continue;
    const own = args.qkv + 4 * (<usize>row * args.stride + <usize>head * head_dim);
    const kv_head = (head - args.query_heads) % args.kv_heads;
    const own_slot = args.write_slot == NOT_FIXED
      ? position % args.write_capacity
      : args.write_slot;
    const slot = <usize>(sequence * args.kv_heads + kv_head) * args.write_capacity + own_slot;
    if (head >= args.query_heads + args.kv_heads) {
      keep_head(own, head_dim, args.VALUE_BITS, args.values, slot);
      continue;
    }
    const is_query = head < args.query_heads;
    let normal = own;
    if (args.has_norm == 1) {
      normal = scratch;
      normalize(own, is_query ? args.q_norm : args.k_norm, head_dim, args.epsilon, normal);
    }
    const turn = is_query ? args.query_rotation + position : position;
    const rotation = args.rotation + 4 * <usize>turn * head_dim;
    // A pair is read before it is written, so a head may be rotated in place.
    const target = is_query ? own : scratch;
    rotate_head(normal, rotation, head_dim, target);
    if (is_query) continue;
    if (args.has_center == 1) {
      subtract_vector(target, args.center + 4 * <usize>kv_head * head_dim, head_dim);
    }
    keep_head(target, head_dim, args.KEY_BITS, args.keys, slot);
  }
}
