// Moves uploaded head vectors to their slots, as one item. See load_rows.ts.

@unmanaged
class LoadRows {
  upload: usize;
  keys: usize;
  values: usize;
  ROW_WORDS: u32;
  layer: u32;
  layers: u32;
}

export function load_rows(args: LoadRows, first: u32, last: u32, thread: u32): void {
  const entry = args.upload + 12 * <usize>args.layer;
  const key_rows = load<u32>(entry, 4);
  const rows = key_rows + load<u32>(entry, 8);
  const bytes = 4 * <usize>args.ROW_WORDS;
  let record = args.upload + 12 * <usize>args.layers + <usize>load<u32>(entry) * (4 + bytes);
  for (let row: u32 = 0; row < rows; row++, record += 4 + bytes) {
    const target = row < key_rows ? args.keys : args.values;
    memory.copy(target + <usize>load<u32>(record) * bytes, record + 4, bytes);
  }
}
