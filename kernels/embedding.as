// Rows of a packed embedding matrix; items are rows of the output. See embedding.ts.

import { MINIMA, Planes, TWO_MINIMA, TWO_SCALES, unpack_blocks } from "./matmul";
import { unpack_floats } from "./floats";

@unmanaged
export class Embedding extends Planes {
  tokens: usize;
  state: usize;
  output: usize;
  rows_per_sequence: u32;
  capacity: u32;
  columns: u32;
  stride: u32;
  first_row: u32;
  block_rows: u32;
  factor: f32;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** Row of the matrix for a row of the output; one behind the last if it lies in another row block. */
function weight_row(args: Embedding, row: u32): u32 {
  const in_step = row / args.rows_per_sequence;
  const sequence = load<u32>(args.state) + in_step;
  const length = load<u32>(args.state + 4 * <usize>sequence, 4);
  const position = length + row - in_step * args.rows_per_sequence;
  const token = load<u32>(args.tokens + 4 * (<usize>sequence * args.capacity + position));
  return min(token - args.first_row, args.block_rows);
}

/** Looks up rows of small integers, which are unpacked with the other rows of their row panel. */
// @ts-ignore: decorator
@inline
export function look_up<Format>(args: Embedding, first: u32, last: u32, thread: u32): void {
  const traits = changetype<Format>(0).traits();
  const blocks = args.columns / 32;
  const unpacked = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let row = first; row < last; row++) {
    const from = weight_row(args, row);
    if (from == args.block_rows) continue;
    const lane: usize = 4 * (from & 7);
    let target = args.output + 4 * <usize>row * args.stride;
    for (let block: u32 = 0; block < blocks; block++, target += 128) {
      unpack_blocks<Format>(args, from / 8 * blocks + block, 1, unpacked);
      const scale = load<f32>(unpacked + lane, 512), second = load<f32>(unpacked + lane, 544);
      for (let pair: usize = 0; pair < 16; pair++) {
        // The order of columns is that of quantized activations; see matmul.as.
        const column = (pair & 8) * 2 + (pair & 3) * 4 + (pair >> 2 & 1);
        const source = unpacked + 32 * pair + lane;
        const is_second = (traits & TWO_SCALES) != 0 && pair >= 8;
        const factor = is_second ? second : scale;
        let minimum: f32 = traits & MINIMA ? second : 0;
        if (traits & TWO_MINIMA) minimum = load<f32>(unpacked + lane + (is_second ? 608 : 576));
        const even = <f32>load<i16>(source) * factor + minimum;
        const odd = <f32>load<i16>(source, 2) * factor + minimum;
        store<f32>(target + 4 * column, even * args.factor);
        store<f32>(target + 4 * column, odd * args.factor, 8);
      }
    }
  }
}

/** Looks up rows of floats. */
// @ts-ignore: decorator
@inline
export function look_up_floats<Format>(args: Embedding, first: u32, last: u32, thread: u32): void {
  const blocks = args.columns / 32;
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  const factor4 = f32x4.splat(args.factor);
  for (let row = first; row < last; row++) {
    const from = weight_row(args, row);
    if (from == args.block_rows) continue;
    const lane: usize = 16 * (from & 7);
    const target = args.output + 4 * <usize>row * args.stride;
    for (let block: u32 = 0; block < blocks; block++) {
      const place = from / 8 * blocks + block;
      const unpacked = unpack_floats<Format>(args.values, place, 1, scratch) + lane;
      for (let quad: usize = 0; quad < 8; quad++) {
        const weights = f32x4.mul(v128.load(unpacked + 128 * quad), factor4);
        v128.store(target + 128 * <usize>block + 16 * quad, weights);
      }
    }
  }
}
