// Scores of each head group's tokens from its matched small heads; items are head groups of sequences. See
// matched_saliency.ts.

@unmanaged
class MatchedSaliency {
  state: usize;
  scores: usize;
  matched: usize;
  joined: usize;
  saliency: usize;
  groups: u32;
  group_heads: u32;
  heads: u32;
  capacity: u32; // a multiple of 4
  reduction: u32; // 0 mean, 1 sum, 2 maximum
}

export function matched_saliency(args: MatchedSaliency, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = <usize>load<u32>(args.state) + item / args.groups;
    const head_group = sequence * args.groups + item % args.groups;
    const cached = load<u32>(args.state + 4 * (1 + sequence));
    const tokens = min((cached + 4) & ~3, args.capacity);
    const members = <usize>load<u32>(args.joined + 4 * sequence);
    const matched = args.matched + 4 * (head_group * args.group_heads / members * members);
    const scores = args.scores + 4 * sequence * args.heads * args.capacity;
    const saliency = args.saliency + 4 * head_group * args.capacity;
    for (let i: usize = 0; i < <usize>tokens * 4; i += 16) {
      let joined = v128.load(scores + 4 * <usize>load<u32>(matched) * args.capacity + i);
      for (let member: usize = 1; member < members; member++) {
        const head = <usize>load<u32>(matched + 4 * member);
        const own = v128.load(scores + 4 * head * args.capacity + i);
        joined = args.reduction == 2 ? f32x4.max(joined, own) : f32x4.add(joined, own);
      }
      if (args.reduction == 0) joined = f32x4.div(joined, f32x4.splat(<f32>members));
      v128.store(saliency + i, joined);
    }
  }
}
