// Scores of full tokens from the large model's attention; items are head groups of sequences. See scatter_scores.ts.

import { entries_of, full_of, list_at, Listed } from "./lists";

@unmanaged
class ScatterScores extends Listed {
  attention: usize;
  large_scores: usize;
  groups_per_layer: u32;
  capacity: u32;
  attention_stride: u32;
  decay: f32;
}

export function scatter_scores(args: ScatterScores, first: u32, last: u32, thread: u32): void {
  const heads = <usize>args.group_heads;
  const stride = 4 * <usize>args.attention_stride;
  for (let item = first; item < last; item++) {
    const sequence = item / args.groups_per_layer;
    const group = item % args.groups_per_layer;
    const list = list_at(args, sequence, group);
    const entries = entries_of(args, list);
    const full = <usize>full_of(args, list);
    const head_group = <usize>sequence * args.groups + args.group_offset + group;
    const scores = args.large_scores + 4 * head_group * args.capacity;
    const softmax = args.attention + <usize>item * heads * stride;
    for (let entry: usize = 0; entry < full; entry++) {
      let sum: f32 = 0;
      for (let member: usize = 0; member < heads; member++) {
        sum += load<f32>(softmax + member * stride + 4 * entry);
      }
      const score = scores + 4 * <usize>load<u32>(entries + 8 * entry);
      store<f32>(score, args.decay * load<f32>(score) + sum / <f32>heads);
    }
  }
}
