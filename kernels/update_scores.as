// Running scores of a small model's heads; items are heads of sequences. See update_scores.ts.

@unmanaged
class UpdateScores {
  state: usize;
  rows: usize;
  decays: usize;
  scores: usize;
  heads: u32;
  capacity: u32;
}

export function update_scores(args: UpdateScores, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.heads;
    const tokens = min(load<u32>(args.state + 4 * (1 + sequence)) + 1, args.capacity);
    const decay = f32x4.splat(load<f32>(args.decays + 4 * sequence));
    const place = 4 * (sequence * args.heads + item % args.heads) * args.capacity;
    const rows = args.rows + place;
    const scores = args.scores + place;
    const whole = <usize>tokens & ~3;
    for (let i: usize = 0; i < whole * 4; i += 16) {
      const sum = f32x4.mul(v128.load(scores + i), decay);
      v128.store(scores + i, f32x4.add(sum, v128.load(rows + i)));
    }
    for (let i = whole; i < <usize>tokens; i++) {
      const sum = load<f32>(scores + 4 * i) * f32x4.extract_lane(decay, 0);
      store<f32>(scores + 4 * i, sum + load<f32>(rows + 4 * i));
    }
  }
}
