// Root-mean-square normalization; items are rows. See rms_norm.ts.

import { sum4 } from "./simd";

@unmanaged
class RmsNorm {
  input: usize;
  weight: usize;
  output: usize;
  columns: u32;
  input_stride: u32;
  output_stride: u32;
  epsilon: f32;
  row_step: u32;
  row_offset: u32;
  accumulate: u32;
}

export function rms_norm(args: RmsNorm, first: u32, last: u32, thread: u32): void {
  const columns = <usize>args.columns;
  const whole = columns & ~3;
  for (let row = <usize>first; row < <usize>last; row++) {
    const source = args.input + 4 * (row * args.row_step + args.row_offset) * args.input_stride;
    const target = args.output + 4 * row * args.output_stride;
    let squares4 = f32x4.splat(0);
    for (let i: usize = 0; i < whole; i += 4) {
      const values = v128.load(source + 4 * i);
      squares4 = f32x4.add(squares4, f32x4.mul(values, values));
    }
    let squares = sum4(squares4);
    for (let i = whole; i < columns; i++) {
      const value = load<f32>(source + 4 * i);
      squares += value * value;
    }
    const factor: f32 = 1 / sqrt(squares / <f32>columns + args.epsilon);
    const factor4 = f32x4.splat(factor);
    for (let i: usize = 0; i < whole; i += 4) {
      const scaled = f32x4.mul(v128.load(source + 4 * i), factor4);
      let result = f32x4.mul(scaled, v128.load(args.weight + 4 * i));
      if (args.accumulate) result = f32x4.add(result, v128.load(target + 4 * i));
      v128.store(target + 4 * i, result);
    }
    for (let i = whole; i < columns; i++) {
      let result = load<f32>(source + 4 * i) * factor * load<f32>(args.weight + 4 * i);
      if (args.accumulate) result += load<f32>(target + 4 * i);
      store<f32>(target + 4 * i, result);
    }
  }
}
