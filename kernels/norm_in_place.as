// Root-mean-square normalization of part of a row where it stands; items are rows. See norm_in_place.ts.

import { sum4 } from "./simd";

@unmanaged
class NormInPlace {
  weight: usize;
  values: usize;
  columns: u32;
  stride: u32;
  offset: u32;
  epsilon: f32;
}

export function norm_in_place(args: NormInPlace, first: u32, last: u32, thread: u32): void {
  const columns = <usize>args.columns;
  const whole = columns & ~3;
  for (let row = <usize>first; row < <usize>last; row++) {
    const place = args.values + 4 * (row * args.stride + args.offset);
    let squares4 = f32x4.splat(0);
    for (let i: usize = 0; i < whole; i += 4) {
      const values = v128.load(place + 4 * i);
      squares4 = f32x4.add(squares4, f32x4.mul(values, values));
    }
    let squares = sum4(squares4);
    for (let i = whole; i < columns; i++) {
      const value = load<f32>(place + 4 * i);
      squares += value * value;
    }
    const factor: f32 = 1 / sqrt(squares / <f32>columns + args.epsilon);
    const factor4 = f32x4.splat(factor);
    for (let i: usize = 0; i < whole; i += 4) {
      const scaled = f32x4.mul(v128.load(place + 4 * i), factor4);
      v128.store(place + 4 * i, f32x4.mul(scaled, v128.load(args.weight + 4 * i)));
    }
    for (let i = whole; i < columns; i++) {
      store<f32>(place + 4 * i, load<f32>(place + 4 * i) * factor * load<f32>(args.weight + 4 * i));
    }
  }
}
