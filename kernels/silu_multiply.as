// Activation of a gated MLP; items are rows. See silu_multiply.ts.

import { exp2_4 } from "./simd";

@unmanaged
class SiluMultiply {
  input: usize;
  output: usize;
  columns: u32;
  input_stride: u32;
  up_offset: u32;
  output_stride: u32;
}

export function silu_multiply(args: SiluMultiply, first: u32, last: u32, thread: u32): void {
  const bytes: usize = 16 * ((args.columns + 3) / 4);
  const one = f32x4.splat(1);
  // The clamp keeps the power finite; below it the result is 0 to the precision of floats.
  const lowest = f32x4.splat(-80);
  const factor = f32x4.splat(-1.4426950408889634);
  for (let row = <usize>first; row < <usize>last; row++) {
    const gates = args.input + 4 * row * args.input_stride;
    const ups = gates + 4 * <usize>args.up_offset;
    const target = args.output + 4 * row * args.output_stride;
    for (let i: usize = 0; i < bytes; i += 16) {
      const gate = v128.load(gates + i);
      const power = exp2_4(f32x4.mul(f32x4.max(gate, lowest), factor));
      const silu = f32x4.div(gate, f32x4.add(one, power));
      v128.store(target + i, f32x4.mul(silu, v128.load(ups + i)));
    }
  }
}
