// Activation of a gated MLP; items are rows. See gate_multiply.ts.

import { exp2_4 } from "./simd";

@unmanaged
class GateMultiply {
  input: usize;
  output: usize;
  columns: u32;
  input_stride: u32;
  up_offset: u32;
  output_stride: u32;
  IS_GELU: u32;
}

export function gate_multiply(args: GateMultiply, first: u32, last: u32, thread: u32): void {
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
      let argument = gate;
      if (args.IS_GELU != 0) {
        // GELU by tanh, x / 2 * (1 + tanh(y)), is x / (1 + exp(-2 y)).
        const near = f32x4.pmax(f32x4.pmin(gate, f32x4.splat(20)), f32x4.splat(-20)); // its cube stays finite
        const square = f32x4.mul(f32x4.mul(near, near), f32x4.splat(0.044715));
        argument = f32x4.mul(f32x4.mul(near, f32x4.splat(1.5957691216057308)), f32x4.add(one, square));
      }
      const power = exp2_4(f32x4.mul(f32x4.pmax(argument, lowest), factor));
      const activated = f32x4.div(gate, f32x4.add(one, power));
      v128.store(target + i, f32x4.mul(activated, v128.load(ups + i)));
    }
  }
}
