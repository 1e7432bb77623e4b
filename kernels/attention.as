// What the attention kernels share: tiles of keys and values as floats, scores, the online softmax, weighted sums.
//
// Every sum has an order that neither threads nor other rows change: a score adds four partial sums along the head, and
// the softmax goes through tiles and chunks of keys that begin at fixed positions. Keys that a row does not see add
// exact zeros.

import {
  exp2_4,
  exp2_of,
  first_halves4,
  float_sums4,
  halves4,
  last_halves4,
  sum4,
  tanh4,
  upper_halves4,
} from "./simd";

/** Keys that are converted, scored and weighted together. */
export const TILE: usize = 64;

/** Stands for minus infinity. */
export const LOWEST: f32 = -3.4e38;
export const LOG2_E: f32 = 1.4426950408889634;
export const LN2: f64 = 0.6931471805599453;

/** Fields of every attention kernel. */
@unmanaged
export class Attention {
  state: usize;
  qkv: usize;
  keys: usize;
  rows_per_sequence: u32;
  capacity: u32;
  stride: u32;
  query_heads: u32;
  kv_heads: u32;
  scale: f32;
  head_dim: u32;
  key_bits: u32; // 32 for floats, 16 for halves, 8 or 4 for rows of codes as in quantized_rows.ts
  window: u32; // newest keys that a row sees; all if 0
  ring: u32; // head vectors of a KV head, where a key is at its position modulo this; as many as positions if 0
  softcap: f32; // none if 0
  thread_scratch: usize;
  thread_bytes: u32;
}

/** A query row of a head while its attention is computed. */
@unmanaged
export class Row {
  query: usize;
  /** Largest score in base 2, sum of the exponentials, the same without sinks where it is needed, one unused. */
  part: usize;
  /** Weighted sum of the values. */
  vector: usize;
  /** Scores of a tile, then their exponentials. */
  scores: usize;
  /** Bits of the head's mask; 0 if nothing is masked. */
  visible: usize;
  position: i32;
  /** Factor on everything summed before the tile. */
  factor: f32;
}

export const ROW_BYTES: usize = 32;

/** Floats before the weighted sum of the values, where both lie together. */
export const PART_HEADER: usize = 4;

/** Converts stored head vectors to floats; `elements` is a multiple of 4. */
export function copy_vectors(source: usize, is_f32: u32, elements: usize, target: usize): void {
  if (is_f32 != 0) {
    for (let i: usize = 0; i < elements * 4; i += 16) v128.store(target + i, v128.load(source + i));
    return;
  }
  const whole = elements & ~7;
  for (let i: usize = 0; i < whole; i += 8) {
    const words = v128.load(source + 2 * i);
    v128.store(target + 4 * i, first_halves4(words));
    v128.store(target + 4 * i, last_halves4(words), 16);
  }
  if (whole == elements) return;
  v128.store(target + 4 * whole, first_halves4(v128.load64_zero(source + 2 * whole)));
}

/** Bytes of a stored head vector of numbers of 32, 16, 8 or 4 bits. */
// @ts-ignore: decorator
@inline
function vector_bytes(bits: u32, head_dim: usize): usize {
  const bytes = head_dim * bits / 8;
  return bits < 16 ? bytes + 4 * ((head_dim + 31) / 32) : bytes;
}

/** Four codes of a byte each, in the low 32 bits, times the step and plus the least number of their group. */
// @ts-ignore: decorator
@inline
function numbers4(codes: v128, step: v128, least: v128): v128 {
  const wide = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(codes));
  return f32x4.add(f32x4.mul(f32x4.convert_i32x4_u(wide), step), least);
}

/** Converts a row of codes to floats: of every eight, the last four lie `apart` bytes behind the first. */
function spread_row(
  row: usize,
  bits: u32,
  head_dim: usize,
  target: usize,
  apart: usize,
): void {
  const groups = row + head_dim * bits / 8;
  const low = i8x16.splat(15);
  for (let i: usize = 0; i < head_dim; i += 8) {
    const group = v128.load32_splat(groups + i / 32 * 4);
    const step = halves4(group);
    const least = upper_halves4(group);
    if (bits == 4) {
      const codes = v128.load32_zero(row + i / 2);
      v128.store(target, numbers4(v128.and(codes, low), step, least));
      v128.store(target + apart, numbers4(i8x16.shr_u(codes, 4), step, least));
    } else {
      v128.store(target, numbers4(v128.load32_zero(row + i), step, least));
      v128.store(target + apart, numbers4(v128.load32_zero(row + i, 4), step, least));
    }
    target += 2 * apart;
  }
}

/** Converts head vectors that follow each other to floats. */
function copy_rows(source: usize, bits: u32, head_dim: usize, rows: usize, target: usize): void {
  if (bits >= 16) {
    copy_vectors(source, bits == 32 ? 1 : 0, rows * head_dim, target);
    return;
  }
  const bytes = vector_bytes(bits, head_dim);
  for (let row: usize = 0; row < rows; row++) {
    spread_row(source + row * bytes, bits, head_dim, target + 4 * row * head_dim, 16);
  }
}

/** Converts a key to floats in a tile of keys, in which the vectors of four keys take turns. */
function place_key(source: usize, bits: u32, head_dim: usize, tile: usize, key: usize): void {
  let target = tile + (key >> 2) * head_dim * 16 + (key & 3) * 16;
  if (bits < 16) {
    spread_row(source, bits, head_dim, target, 64);
    return;
  }
  if (bits == 32) {
    for (let i: usize = 0; i < head_dim * 4; i += 32) {
      v128.store(target, v128.load(source + i));
      v128.store(target, v128.load(source + i, 16), 64);
      target += 128;
    }
    return;
  }
  for (let i: usize = 0; i < head_dim * 2; i += 16) {
    const words = v128.load(source + i);
    v128.store(target, first_halves4(words));
    v128.store(target, last_halves4(words), 64);
    target += 128;
  }
}

/** Head vectors that a KV head has room for. */
// @ts-ignore: decorator
@inline
function head_slots(args: Attention): usize {
  return args.ring != 0 ? args.ring : args.capacity;
}

/** Makes a tile of the keys of a KV head from a position on; `head` counts the KV heads of all sequences. */
export function load_keys(args: Attention, head: usize, from: u32, count: usize, tile: usize): void {
  const head_dim = <usize>args.head_dim;
  const bytes = vector_bytes(args.key_bits, head_dim);
  const slots = head_slots(args);
  const slot = <usize>from % slots;
  const first = args.keys + head * slots * bytes;
  const before = min(count, slots - slot); // the others are at the start of the ring
  for (let key: usize = 0; key < before; key++) {
    place_key(first + (slot + key) * bytes, args.key_bits, head_dim, tile, key);
  }
  for (let key = before; key < count; key++) {
    place_key(first + (key - before) * bytes, args.key_bits, head_dim, tile, key);
  }
}

/** Makes a tile of the keys of a list; `entries` are pairs of words, the second one a head vector. */
export function gather_keys(
  stored: usize,
  bits: u32,
  entries: usize,
  first: u32,
  count: usize,
  head_dim: usize,
  tile: usize,
): void {
  const bytes = vector_bytes(bits, head_dim);
  for (let key: usize = 0; key < count; key++) {
    const source = stored + <usize>(first + load<u32>(entries + 8 * key, 4)) * bytes;
    place_key(source, bits, head_dim, tile, key);
  }
}

/**
 * Makes a tile of the values of a KV head from a position on.
 *
 * @returns Address of f32 [count, head_dim].
 */
export function load_values(
  args: Attention,
  stored: usize,
  bits: u32,
  head: usize,
  from: u32,
  count: usize,
  tile: usize,
): usize {
  const head_dim = <usize>args.head_dim;
  const bytes = vector_bytes(bits, head_dim);
  const slots = head_slots(args);
  const slot = <usize>from % slots;
  const source = stored + head * slots * bytes;
  const before = min(count, slots - slot); // the others are at the start of the ring
  if (bits == 32 && before == count) return source + slot * bytes;
  copy_rows(source + slot * bytes, bits, head_dim, before, tile);
  copy_rows(source, bits, head_dim, count - before, tile + 4 * before * head_dim);
  return tile;
}

/** Makes a tile of the values of a list. */
export function gather_values(
  stored: usize,
  bits: u32,
  entries: usize,
  first: u32,
  count: usize,
  head_dim: usize,
  tile: usize,
): void {
  const bytes = vector_bytes(bits, head_dim);
  for (let entry: usize = 0; entry < count; entry++) {
    const source = stored + <usize>(first + load<u32>(entries + 8 * entry, 4)) * bytes;
    copy_rows(source, bits, head_dim, 1, tile + 4 * entry * head_dim);
  }
}

/** Score in base 2 of four products, as in attention.wgsl. */
// @ts-ignore: decorator
@inline
function scores4(products: v128, factor: f32, cap: f32): v128 {
  const scaled = f32x4.mul(products, f32x4.splat(factor));
  return cap > 0 ? f32x4.mul(tanh4(scaled), f32x4.splat(cap * LOG2_E)) : scaled;
}

/** Scores of two queries against a tile of keys, in base 2; of `count` keys, and of up to three more. */
export function score_pair(
  args: Attention,
  query_a: usize,
  query_b: usize,
  tile: usize,
  count: usize,
  scores_a: usize,
  scores_b: usize,
): void {
  const cap = args.softcap;
  const factor = cap > 0 ? args.scale / cap : args.scale * LOG2_E;
  const bytes = <usize>args.head_dim * 4;
  let keys = tile;
  for (let key: usize = 0; key < count; key += 4) {
    let a0 = f32x4.splat(0);
    let a1 = a0;
    let a2 = a0;
    let a3 = a0;
    let b0 = a0;
    let b1 = a0;
    let b2 = a0;
    let b3 = a0;
    for (let i: usize = 0; i < bytes; i += 32) {
      let a = v128.load(query_a + i);
      let b = v128.load(query_b + i);
      let k = v128.load(keys);
      a0 = f32x4.add(a0, f32x4.mul(a, k));
      b0 = f32x4.add(b0, f32x4.mul(b, k));
      k = v128.load(keys, 16);
      a1 = f32x4.add(a1, f32x4.mul(a, k));
      b1 = f32x4.add(b1, f32x4.mul(b, k));
      k = v128.load(keys, 32);
      a2 = f32x4.add(a2, f32x4.mul(a, k));
      b2 = f32x4.add(b2, f32x4.mul(b, k));
      k = v128.load(keys, 48);
      a3 = f32x4.add(a3, f32x4.mul(a, k));
      b3 = f32x4.add(b3, f32x4.mul(b, k));
      a = v128.load(query_a + i, 16);
      b = v128.load(query_b + i, 16);
      k = v128.load(keys, 64);
      a0 = f32x4.add(a0, f32x4.mul(a, k));
      b0 = f32x4.add(b0, f32x4.mul(b, k));
      k = v128.load(keys, 80);
      a1 = f32x4.add(a1, f32x4.mul(a, k));
      b1 = f32x4.add(b1, f32x4.mul(b, k));
      k = v128.load(keys, 96);
      a2 = f32x4.add(a2, f32x4.mul(a, k));
      b2 = f32x4.add(b2, f32x4.mul(b, k));
      k = v128.load(keys, 112);
      a3 = f32x4.add(a3, f32x4.mul(a, k));
      b3 = f32x4.add(b3, f32x4.mul(b, k));
      keys += 128;
    }
    v128.store(scores_a + 4 * key, scores4(float_sums4(a0, a1, a2, a3), factor, cap));
    v128.store(scores_b + 4 * key, scores4(float_sums4(b0, b1, b2, b3), factor, cap));
  }
}

/** Whether a row sees all of some keys, none of which comes after `last`. */
// @ts-ignore: decorator
@inline
export function sees_all(row: Row, window: i32, key: i32, last: i32): bool {
  return row.visible == 0 && last <= row.position && (window == 0 || key > row.position - window);
}

/** All ones where a row sees one of four keys; `positions` holds theirs. */
// @ts-ignore: decorator
@inline
export function seen4(row: Row, window: i32, positions: v128): v128 {
  const position = row.position;
  const seen = i32x4.le_s(positions, i32x4.splat(position));
  if (window == 0) return seen;
  return v128.and(seen, i32x4.gt_s(positions, i32x4.splat(position - window)));
}

/** The same for four keys from `key` on, a multiple of 4 and not after `last`, where keys may be masked. */
// @ts-ignore: decorator
@inline
export function visible4(row: Row, window: i32, key: i32, last: i32): v128 {
  const positions = i32x4.add(i32x4.splat(key), i32x4(0, 1, 2, 3));
  const seen = v128.and(seen4(row, window, positions), i32x4.le_s(positions, i32x4.splat(last)));
  if (row.visible == 0) return seen;
  const bits = load<u32>(row.visible + 4 * <usize>(key >> 5)) >> (key & 31);
  const own = v128.and(i32x4.splat(bits), i32x4(1, 2, 4, 8));
  return v128.and(seen, i32x4.eq(own, i32x4(1, 2, 4, 8)));
}

/** Gives keys of a tile that a row does not see the lowest score. */
export function hide_unseen(row: Row, window: i32, first: i32, count: i32): void {
  const last = first + count - 1;
  if ((count & 3) == 0 && sees_all(row, window, first, last)) return;
  const lowest = f32x4.splat(LOWEST);
  for (let key: i32 = 0; key < count; key += 4) {
    const place = row.scores + 4 * <usize>key;
    const seen = visible4(row, window, first + key, last);
    v128.store(place, v128.bitselect(v128.load(place), lowest, seen));
  }
}

/**
 * One step of the online softmax: scores become exponentials; keys of the lowest score count nothing.
 *
 * @returns Sum of the exponentials of the tile.
 */
export function softmax_tile(row: Row, count: usize): f32 {
  const scores = row.scores;
  const before = load<f32>(row.part);
  let largest4 = f32x4.splat(before);
  // Where a score is NaN, so is its exponential, whatever the largest score.
  for (let i: usize = 0; i < count * 4; i += 16) {
    largest4 = f32x4.pmax(largest4, v128.load(scores + i));
  }
  const pairs = f32x4.pmax(largest4, v128.shuffle<f32>(largest4, largest4, 2, 3, 0, 1));
  const largest: f32 = max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
  const splat = f32x4.splat(largest);
  const lowest = f32x4.splat(LOWEST);
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < count * 4; i += 16) {
    const score = v128.load(scores + i);
    const power = v128.and(exp2_4(f32x4.sub(score, splat)), f32x4.ne(score, lowest));
    v128.store(scores + i, power);
    sum = f32x4.add(sum, power);
  }
  row.factor = exp2_of(before - largest);
  store<f32>(row.part, largest);
  const total = sum4(sum);
  store<f32>(row.part, load<f32>(row.part, 4) * row.factor + total, 4);
  return total;
}

/** Adds the values of a tile, weighted by the scores of two rows, to vectors that are first multiplied by factors. */
export function add_values(
  a: Row,
  b: Row,
  tile: usize,
  count: usize,
  head_dim: usize,
): void {
  add_weighted(a, b, a.factor, b.factor, a.vector, b.vector, tile, count, head_dim);
}

/** The same for any vectors and factors. */
export function add_weighted(
  row_a: Row,
  row_b: Row,
  factor_a: f32,
  factor_b: f32,
  sum_a: usize,
  sum_b: usize,
  tile: usize,
  count: usize,
  head_dim: usize,
): void {
  const scores_a = row_a.scores;
  const scores_b = row_b.scores;
  const bytes = head_dim * 4;
  const factors_a = f32x4.splat(factor_a);
  const factors_b = f32x4.splat(factor_b);
  let i: usize = 0;
  for (; i + 64 <= bytes; i += 64) {
    let a0 = f32x4.mul(v128.load(sum_a + i), factors_a);
    let a1 = f32x4.mul(v128.load(sum_a + i, 16), factors_a);
    let a2 = f32x4.mul(v128.load(sum_a + i, 32), factors_a);
    let a3 = f32x4.mul(v128.load(sum_a + i, 48), factors_a);
    let b0 = f32x4.mul(v128.load(sum_b + i), factors_b);
    let b1 = f32x4.mul(v128.load(sum_b + i, 16), factors_b);
    let b2 = f32x4.mul(v128.load(sum_b + i, 32), factors_b);
    let b3 = f32x4.mul(v128.load(sum_b + i, 48), factors_b);
    let value = tile + i;
    for (let key: usize = 0; key < count * 4; key += 4) {
      const a = v128.load_splat<f32>(scores_a + key);
      const b = v128.load_splat<f32>(scores_b + key);
      let v = v128.load(value);
      a0 = f32x4.add(a0, f32x4.mul(a, v));
      b0 = f32x4.add(b0, f32x4.mul(b, v));
      v = v128.load(value, 16);
      a1 = f32x4.add(a1, f32x4.mul(a, v));
      b1 = f32x4.add(b1, f32x4.mul(b, v));
      v = v128.load(value, 32);
      a2 = f32x4.add(a2, f32x4.mul(a, v));
      b2 = f32x4.add(b2, f32x4.mul(b, v));
      v = v128.load(value, 48);
      a3 = f32x4.add(a3, f32x4.mul(a, v));
      b3 = f32x4.add(b3, f32x4.mul(b, v));
      value += bytes;
    }
    v128.store(sum_a + i, a0);
    v128.store(sum_a + i, a1, 16);
    v128.store(sum_a + i, a2, 32);
    v128.store(sum_a + i, a3, 48);
    v128.store(sum_b + i, b0);
    v128.store(sum_b + i, b1, 16);
    v128.store(sum_b + i, b2, 32);
    v128.store(sum_b + i, b3, 48);
  }
  for (; i < bytes; i += 16) {
    let a0 = f32x4.mul(v128.load(sum_a + i), factors_a);
    let b0 = f32x4.mul(v128.load(sum_b + i), factors_b);
    let value = tile + i;
    for (let key: usize = 0; key < count * 4; key += 4) {
      const v = v128.load(value);
      a0 = f32x4.add(a0, f32x4.mul(v128.load_splat<f32>(scores_a + key), v));
      b0 = f32x4.add(b0, f32x4.mul(v128.load_splat<f32>(scores_b + key), v));
      value += bytes;
    }
    v128.store(sum_a + i, a0);
    v128.store(sum_b + i, b0);
  }
}

/** Starts a part: nothing summed but perhaps a sink. */
export function start_part(part: usize, head_dim: usize, sink: usize): void {
  memory.fill(part, 0, (PART_HEADER + head_dim) * 4);
  store<f32>(part, sink != 0 ? load<f32>(sink) * LOG2_E : LOWEST);
  store<f32>(part, sink != 0 ? 1 : 0, 4);
}

/** Adds a part to another; what has no keys changes no bit. */
export function merge_part(total: usize, part: usize, head_dim: usize): void {
  const before = load<f32>(total);
  const largest = max(before, load<f32>(part));
  const factor_a = exp2_of(before - largest);
  const factor_b = exp2_of(load<f32>(part) - largest);
  store<f32>(total, largest);
  store<f32>(total, load<f32>(total, 4) * factor_a + load<f32>(part, 4) * factor_b, 4);
  store<f32>(total, load<f32>(total, 8) * factor_a + load<f32>(part, 8) * factor_b, 8);
  const whole = (PART_HEADER + head_dim) & ~3;
  const a = f32x4.splat(factor_a);
  const b = f32x4.splat(factor_b);
  for (let i = PART_HEADER; i < whole; i += 4) {
    const sum = f32x4.mul(v128.load(total + 4 * i), a);
    v128.store(total + 4 * i, f32x4.add(sum, f32x4.mul(v128.load(part + 4 * i), b)));
  }
  for (let i = whole; i < PART_HEADER + head_dim; i++) {
    const sum = load<f32>(total + 4 * i) * factor_a;
    store<f32>(total + 4 * i, sum + load<f32>(part + 4 * i) * factor_b);
  }
}
