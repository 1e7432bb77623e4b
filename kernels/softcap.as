// Bounds on logits; items are rows. See softcap.ts.

import { tanh4 } from "./simd";

@unmanaged
class Softcap {
  values: usize;
  columns: u32;
  stride: u32;
  cap: f32;
}

export function softcap(args: Softcap, first: u32, last: u32, thread: u32): void {
  const columns = <usize>args.columns;
  const whole = columns & ~3;
  const cap = f32x4.splat(args.cap);
  for (let row = <usize>first; row < <usize>last; row++) {
    const logits = args.values + 4 * row * args.stride;
    for (let i: usize = 0; i < whole; i += 4) {
      const ratio = f32x4.div(v128.load(logits + 4 * i), cap);
      v128.store(logits + 4 * i, f32x4.mul(cap, tanh4(ratio)));
    }
    for (let i = whole; i < columns; i++) {
      const ratio = f32x4.splat(load<f32>(logits + 4 * i) / args.cap);
      store<f32>(logits + 4 * i, args.cap * f32x4.extract_lane(tanh4(ratio), 0));
    }
  }
}
