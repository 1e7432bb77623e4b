// What a core can do at most with the instructions that kernels use. See ceiling.ts.

@unmanaged
class Ceiling {
  source: usize;
  target: usize;
  item_bytes: u32;
  rounds: u32;
}

/** Products of 16-bit integers, summed in pairs: 160 operations a round, of which no product is computed twice. */
export function ceiling_integers(args: Ceiling, first: u32, last: u32, thread: u32): void {
  const u0 = v128.load(args.source), u1 = v128.load(args.source, 16);
  const u2 = v128.load(args.source, 32), u3 = v128.load(args.source, 48);
  const u4 = v128.load(args.source, 64), step = v128.load(args.source, 80);
  for (let item = first; item < last; item++) {
    let x = i16x8.splat(<i16>item);
    let s0 = x, s1 = x, s2 = x, s3 = x, s4 = x;
    for (let round: u32 = 0; round < args.rounds; round++) {
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(u0, x));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(u1, x));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(u2, x));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(u3, x));
      s4 = i32x4.add(s4, i32x4.dot_i16x8_s(u4, x));
      x = i16x8.add(x, step);
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(u0, x));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(u1, x));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(u2, x));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(u3, x));
      s4 = i32x4.add(s4, i32x4.dot_i16x8_s(u4, x));
      x = i16x8.add(x, step);
    }
    const sum = i32x4.add(i32x4.add(s0, s1), i32x4.add(s2, i32x4.add(s3, s4)));
    v128.store(args.target + 16 * <usize>item, sum);
  }
}

/** Products of floats, each added to a sum: 80 operations a round. */
export function ceiling_floats(args: Ceiling, first: u32, last: u32, thread: u32): void {
  // The words as integers: as floats some would be too small to be normal, and slow.
  const u0 = f32x4.convert_i32x4_s(v128.load(args.source));
  const u1 = f32x4.convert_i32x4_s(v128.load(args.source, 16));
  const u2 = f32x4.convert_i32x4_s(v128.load(args.source, 32));
  const u3 = f32x4.convert_i32x4_s(v128.load(args.source, 48));
  const u4 = f32x4.convert_i32x4_s(v128.load(args.source, 64));
  const step = f32x4.splat(0.001);
  for (let item = first; item < last; item++) {
    let x = f32x4.splat(<f32>item);
    let s0 = x, s1 = x, s2 = x, s3 = x, s4 = x;
    for (let round: u32 = 0; round < args.rounds; round++) {
      s0 = f32x4.add(s0, f32x4.mul(u0, x));
      s1 = f32x4.add(s1, f32x4.mul(u1, x));
      s2 = f32x4.add(s2, f32x4.mul(u2, x));
      s3 = f32x4.add(s3, f32x4.mul(u3, x));
      s4 = f32x4.add(s4, f32x4.mul(u4, x));
      x = f32x4.add(x, step);
      s0 = f32x4.add(s0, f32x4.mul(u0, x));
      s1 = f32x4.add(s1, f32x4.mul(u1, x));
      s2 = f32x4.add(s2, f32x4.mul(u2, x));
      s3 = f32x4.add(s3, f32x4.mul(u3, x));
      s4 = f32x4.add(s4, f32x4.mul(u4, x));
      x = f32x4.add(x, step);
    }
    const sum = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, f32x4.add(s3, s4)));
    v128.store(args.target + 16 * <usize>item, sum);
  }
}

/** Reads everything once; items are neighboring parts. */
export function ceiling_reads(args: Ceiling, first: u32, last: u32, thread: u32): void {
  for (let item = first; item < last; item++) {
    const start = args.source + <usize>args.item_bytes * item;
    const end = start + args.item_bytes;
    let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let place = start; place < end; place += 128) {
      s0 = i32x4.add(s0, v128.load(place));
      s1 = i32x4.add(s1, v128.load(place, 16));
      s2 = i32x4.add(s2, v128.load(place, 32));
      s3 = i32x4.add(s3, v128.load(place, 48));
      s0 = i32x4.add(s0, v128.load(place, 64));
      s1 = i32x4.add(s1, v128.load(place, 80));
      s2 = i32x4.add(s2, v128.load(place, 96));
      s3 = i32x4.add(s3, v128.load(place, 112));
    }
    v128.store(args.target + 16 * <usize>item, i32x4.add(i32x4.add(s0, s1), i32x4.add(s2, s3)));
  }
}
