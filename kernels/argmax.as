// Greedy choice of the next token. See argmax.ts.

/** Items are blocks of the vocabulary of each sequence. */
@unmanaged
class ArgmaxPartial {
  logits: usize;
  partial: usize;
  columns: u32;
  stride: u32;
  blocks: u32;
}

export function argmax_partial(args: ArgmaxPartial, first: u32, last: u32, thread: u32): void {
  const block_columns = 4 * (((args.columns + 3) / 4 + args.blocks - 1) / args.blocks);
  for (let item = first; item < last; item++) {
    const sequence = item / args.blocks;
    const start = (item - sequence * args.blocks) * block_columns;
    const logits = args.logits + 4 * <usize>sequence * args.stride;
    const end = min(start + block_columns, args.columns);
    let best: u32 = 0, best_column: u32 = 0;
    for (let column = start; column < end; column++) {
      const rank = rank_of(load<u32>(logits + 4 * <usize>column));
      if (rank <= best) continue;
      best = rank;
      best_column = column;
    }
    const target = args.partial + 8 * <usize>item;
    store<u32>(target, best);
    store<u32>(target, best_column, 4);
  }
}

/** Orders like the logit whose bits are given; NaN ranks highest, zeros of both signs are equal, 0 is below all. */
// @ts-ignore: decorator
@inline
function rank_of(bits: u32): u32 {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0xffffffff;
  if (magnitude == 0) return 0x80000000;
  return bits >> 31 ? ~bits : bits | 0x80000000;
}

/** Items are sequences. */
@unmanaged
class Argmax {
  partial: usize;
  tokens: usize;
  state: usize;
  blocks: u32;
  capacity: u32;
  advance: u32;
}

export function argmax(args: Argmax, first: u32, last: u32, thread: u32): void {
  for (let item = first; item < last; item++) {
    let best: u32 = 0, token: u32 = 0;
    for (let block: u32 = 0; block < args.blocks; block++) {
      const place = args.partial + 8 * <usize>(item * args.blocks + block);
      const rank = load<u32>(place);
      if (rank <= best) continue;
      best = rank;
      token = load<u32>(place, 4);
    }
    const sequence = load<u32>(args.state) + item;
    const length = args.state + 4 * <usize>sequence;
    const position = load<u32>(length, 4) + args.advance;
    if (position < args.capacity) {
      const place = args.tokens + 4 * (<usize>sequence * args.capacity + position);
      store<u32>(place, best == 0xffffffff ? best : token);
    }
    store<u32>(length, position, 4);
  }
}
