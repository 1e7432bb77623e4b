// Lists of tokens as kernels read them; see selection_list.ts.

const HEADER_WORDS: u32 = 4;

/** Fields of kernels that read the lists of a layer. */
@unmanaged
export class Listed {
  lists: usize;
  group_offset: u32;
  groups: u32;
  group_heads: u32;
  list_words: u32;
}

/** Where the list of a head group of the layer begins. */
export function list_at(args: Listed, sequence: u32, group: u32): usize {
  const head_group = <usize>sequence * args.groups + args.group_offset + group;
  return args.lists + 4 * head_group * args.list_words;
}

/** Full tokens of a list; none of a broken one. */
export function full_of(args: Listed, list: usize): u32 {
  const room = (args.list_words - HEADER_WORDS - args.group_heads) / 2;
  const full = load<u32>(list);
  return <u64>full + load<u32>(list, 4) > <u64>room ? 0 : full;
}

/** Where its entries begin, which are pairs of token and row. */
export function entries_of(args: Listed, list: usize): usize {
  return list + 4 * (HEADER_WORDS + args.group_heads);
}
