// Attention rows over the tokens of one tokenizer, from rows over those of another; items are heads of sequences. See
// spread_rows.ts.

@unmanaged
class SpreadRows {
  counts: usize;
  rows: usize;
  starts: usize;
  sources: usize;
  shares: usize;
  spread: usize;
  heads: u32;
  own_capacity: u32;
  capacity: u32;
  entries: u32;
}

export function spread_rows(args: SpreadRows, first: u32, last: u32, thread: u32): void {
  for (let item = <usize>first; item < <usize>last; item++) {
    const sequence = item / args.heads;
    const tokens = <usize>load<u32>(args.counts + 4 * sequence);
    const rows = args.rows + 4 * item * args.own_capacity;
    const spread = args.spread + 4 * item * args.capacity;
    const starts = args.starts + 4 * sequence * (args.capacity + 1);
    const sources = args.sources + 4 * sequence * args.entries;
    const shares = args.shares + 4 * sequence * args.entries;
    let entry = <usize>load<u32>(starts);
    for (let token: usize = 0; token < tokens; token++) {
      const end = <usize>load<u32>(starts + 4 * (token + 1));
      let sum: f32 = 0;
      for (; entry < end; entry++) {
        const source = <usize>load<u32>(sources + 4 * entry);
        sum += load<f32>(shares + 4 * entry) * load<f32>(rows + 4 * source);
      }
      store<f32>(spread + 4 * token, sum);
    }
  }
}
