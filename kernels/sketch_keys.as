// Codes and scales of new keys; items are pairs of tokens, whose scales share a word, of KV heads. See sketch_keys.ts.

import { copy_vectors } from "./attention";
import { sum4, to_halves4 } from "./simd";

@unmanaged
class SketchKeys {
  state: usize;
  keys: usize;
  means: usize;
  rotation: usize;
  levels: usize;
  codes: usize;
  scales: usize;
  rows_per_sequence: u32;
  kv_heads: u32;
  capacity: u32;
  key_capacity: u32;
  key_slot: u32;
  level_scale: f32;
  pairs: u32;
  HEAD_DIM: u32; // a multiple of 8
  BITS: u32;
  WORDS: u32;
  HAS_F32_KEYS: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

const NOT_FIXED: u32 = 0xffffffff;

/** Multiplies a head by a matrix; sums over its rows have the order of the rows. */
export function rotate_by(matrix: usize, head: usize, head_dim: usize, target: usize): void {
  const row_bytes = head_dim * 4;
  for (let i: usize = 0; i < row_bytes; i += 32) {
    let low = f32x4.splat(0);
    let high = low;
    let row = matrix + i;
    for (let j: usize = 0; j < row_bytes; j += 4, row += row_bytes) {
      const element = v128.load_splat<f32>(head + j);
      low = f32x4.add(low, f32x4.mul(element, v128.load(row)));
      high = f32x4.add(high, f32x4.mul(element, v128.load(row, 16)));
    }
    v128.store(target + i, low);
    v128.store(target + i, high, 16);
  }
}

/** Index of the nearest level. */
function code_of(args: SketchKeys, value: f32): u32 {
  const last = (1 << args.BITS) - 1;
  let code: u32 = 0;
  for (let level: usize = 0; level < <usize>last; level++) {
    const place = args.levels + 4 * level;
    code += value > <f32>0.5 * (load<f32>(place) + load<f32>(place, 4)) ? 1 : 0;
  }
  return code;
}

function write_codes(args: SketchKeys, rotated: usize, factor: f32, target: usize): void {
  const bytes = args.WORDS * 4;
  for (let word: u32 = 0; word < args.WORDS; word++) {
    let bits: u32 = 0;
    for (let byte: u32 = 0; byte < 4; byte++) {
      let shift = byte * 8;
      for (let i = word * 4 + byte; i < args.HEAD_DIM; i += bytes, shift += args.BITS) {
        bits |= code_of(args, load<f32>(rotated + 4 * <usize>i) * factor) << shift;
      }
    }
    store<u32>(target + 16 * <usize>word, bits);
  }
}

function sketch_key(args: SketchKeys, head: usize, token: u32, scratch: usize): void {
  const head_dim = <usize>args.HEAD_DIM;
  const slot = args.key_slot == NOT_FIXED ? token : args.key_slot;
  const size: usize = args.HAS_F32_KEYS != 0 ? 4 : 2;
  const key = args.keys + (head * args.key_capacity + slot) * head_dim * size;
  const rotated = scratch + 4 * head_dim;
  copy_vectors(key, args.HAS_F32_KEYS, head_dim, scratch);
  const means = args.means + 4 * head * head_dim;
  for (let i: usize = 0; i < 4 * head_dim; i += 16) {
    v128.store(scratch + i, f32x4.sub(v128.load(scratch + i), v128.load(means + i)));
  }
  rotate_by(args.rotation, scratch, head_dim, rotated);
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < 4 * head_dim; i += 16) {
    const x = v128.load(rotated + i);
    squares = f32x4.add(squares, f32x4.mul(x, x));
  }
  const scale: f32 = sqrt<f32>(sum4(squares) / <f32>args.HEAD_DIM);
  const block = (head * (args.capacity / 4) + token / 4) * 4 * args.WORDS + token % 4;
  write_codes(args, rotated, scale > 0 ? args.level_scale / scale : 0, args.codes + 4 * block);
  const half = i32x4.extract_lane(to_halves4(f32x4.splat(scale)), 0);
  store<u16>(args.scales + 2 * (head * args.capacity + token), <u16>half);
}

export function sketch_keys(args: SketchKeys, first: u32, last: u32, thread: u32): void {
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let item = first; item < last; item++) {
    const sequence = load<u32>(args.state) + item / (args.kv_heads * args.pairs);
    const head = <usize>sequence * args.kv_heads + item / args.pairs % args.kv_heads;
    const begin = load<u32>(args.state + 4 * (1 + <usize>sequence));
    const end = min(begin + args.rows_per_sequence, args.capacity);
    const pair = begin / 2 + item % args.pairs;
    for (let token = max(2 * pair, begin); token < min(2 * pair + 2, end); token++) {
      sketch_key(args, head, token, scratch);
    }
  }
}
