// Attention to listed tokens, laid out by position; items are query heads of sequences. See listed_rows.ts.

import { entries_of, full_of, list_at, Listed } from "./lists";

@unmanaged
class ListedRows extends Listed {
  state: usize;
  attention: usize;
  rows: usize;
  groups_per_layer: u32;
  capacity: u32;
  attention_stride: u32;
  head_offset: u32;
  heads_total: u32;
}

export function listed_rows(args: ListedRows, first: u32, last: u32, thread: u32): void {
  const heads = args.groups_per_layer * args.group_heads;
  for (let item = first; item < last; item++) {
    const sequence = load<u32>(args.state) + item / heads;
    const head = item % heads;
    const cached = load<u32>(args.state + 4 * (1 + <usize>sequence));
    const tokens = min(cached + 1, args.capacity);
    const place = <usize>sequence * args.heads_total + args.head_offset + head;
    const row = args.rows + 4 * place * args.capacity;
    memory.fill(row, 0, 4 * tokens);
    const softmax = args.attention + 4 * <usize>item * args.attention_stride;
    const list = list_at(args, sequence, head / args.group_heads);
    const entries = entries_of(args, list);
    const full = <usize>full_of(args, list);
    for (let entry: usize = 0; entry < full; entry++) {
      const token = load<u32>(entries + 8 * entry);
      if (token < tokens) store<f32>(row + 4 * <usize>token, load<f32>(softmax + 4 * entry));
    }
  }
}
