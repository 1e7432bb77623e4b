// Attention to every key, from the log-sum-exp of each row; items are tiles of keys. See attention_columns.ts.

import {
  Attention,
  hide_unseen,
  load_keys,
  LOG2_E,
  Row,
  ROW_BYTES,
  score_pair,
  TILE,
} from "./attention";
import { exp2_4 } from "./simd";

@unmanaged
class ColumnsAttention extends Attention {
  log_sum: usize;
  rows: u32;
  visible: usize;
  is_masked: u32;
  visible_words: u32;
}

@unmanaged
class AttentionSums extends ColumnsAttention {
  sums: usize;
  row_decay: f32;
  sum_decay: f32;
}

@unmanaged
class AttentionMap extends ColumnsAttention {
  output: usize;
  head: u32;
  map_stride: u32;
  map_offset: u32;
}

@unmanaged
class AttentionRows extends ColumnsAttention {
  output: usize;
  head_offset: u32;
  heads_total: u32;
}

/** Two rows and a tile of keys; in the scratch of a thread, before scores, totals and the tile itself. */
@unmanaged
class Columns {
  place: u32; // sequence of the step
  sequence: u32; // sequence of the cache
  start: u32; // position of the step's first row
  seen: u32; // keys in use
  key: u32; // first key of the tile
  count: u32; // its keys in use; none if 0
  tile: usize;
}

const COLUMNS_BYTES: usize = 32;

// @ts-ignore: decorator
@inline
function row_at(columns: Columns, index: usize): Row {
  return changetype<Row>(changetype<usize>(columns) + COLUMNS_BYTES + index * ROW_BYTES);
}

// @ts-ignore: decorator
@inline
function scores_of(columns: Columns): usize {
  return changetype<usize>(columns) + COLUMNS_BYTES + 2 * ROW_BYTES;
}

// @ts-ignore: decorator
@inline
function totals_of(columns: Columns): usize {
  return scores_of(columns) + 8 * TILE;
}

/** Finds a tile of keys, without converting it. */
function start_tile(
  args: ColumnsAttention,
  thread: u32,
  tile: u32,
  place: u32,
): Columns {
  const scratch = args.thread_scratch + <usize>thread * args.thread_bytes;
  const columns = changetype<Columns>(scratch);
  columns.place = place;
  columns.sequence = load<u32>(args.state) + place;
  columns.start = load<u32>(args.state + 4 * (1 + <usize>columns.sequence));
  columns.seen = min(columns.start + args.rows_per_sequence, args.capacity);
  columns.key = tile * <u32>TILE;
  columns.count = columns.key < columns.seen
    ? min(<u32>TILE, columns.seen - columns.key)
    : 0;
  row_at(columns, 0).scores = scores_of(columns);
  row_at(columns, 1).scores = scores_of(columns) + 4 * TILE;
  return columns;
}

function convert_keys(args: ColumnsAttention, columns: Columns, kv_head: u32): void {
  const head = <usize>columns.sequence * args.kv_heads + kv_head;
  const tile = totals_of(columns) + 4 * TILE;
  load_keys(args, head, columns.key, columns.count, tile);
  columns.tile = tile;
}

/** Chooses a row: a new token of the sequence, and a query head. */
function set_row(args: ColumnsAttention, columns: Columns, index: usize, token: u32, head: u32): void {
  const row = row_at(columns, index);
  const place = <usize>columns.place * args.rows_per_sequence + token;
  row.query = args.qkv + 4 * (place * args.stride + <usize>head * args.head_dim);
  row.visible = args.is_masked != 0 ? args.visible + 4 * <usize>head * args.visible_words : 0;
  row.position = columns.start + token;
  // Until its scores are known, the factor holds the log-sum-exp.
  row.factor = load<f32>(args.log_sum + 4 * (<usize>head * args.rows + place));
}

/** Leaves the attention of both rows to the tile in their scores. */
function attend_pair(args: ColumnsAttention, columns: Columns): void {
  const a = row_at(columns, 0);
  const b = row_at(columns, 1);
  const count = columns.count;
  score_pair(args, a.query, b.query, columns.tile, count, a.scores, b.scores);
  finish_row(a, args.window, columns);
  finish_row(b, args.window, columns);
}

function finish_row(row: Row, window: i32, columns: Columns): void {
  hide_unseen(row, window, columns.key, columns.count);
  const log_sum = f32x4.splat(row.factor * LOG2_E);
  for (let i: usize = 0; i < <usize>columns.count * 4; i += 16) {
    const score = v128.load(row.scores + i);
    v128.store(row.scores + i, exp2_4(f32x4.sub(score, log_sum)));
  }
}

/** Later rows weigh more, the last one 1. */
function add_row(row: Row, columns: Columns, decay: f32): void {
  const totals = totals_of(columns);
  const factor = f32x4.splat(decay);
  for (let i: usize = 0; i < <usize>columns.count * 4; i += 16) {
    const total = f32x4.mul(v128.load(totals + i), factor);
    v128.store(totals + i, f32x4.add(total, v128.load(row.scores + i)));
  }
}

/** Items are tiles of the capacity, of each KV head of each sequence. */
export function attention_sums(args: AttentionSums, first: u32, last: u32, thread: u32): void {
  const pairs = (args.rows / args.rows_per_sequence) * args.kv_heads;
  const group_size = args.query_heads / args.kv_heads;
  const last_token = args.rows_per_sequence - 1;
  for (let item = first; item < last; item++) {
    const kv_head = item % pairs % args.kv_heads;
    const columns = start_tile(args, thread, item / pairs, item % pairs / args.kv_heads);
    if (columns.count == 0) continue;
    convert_keys(args, columns, kv_head);
    const count = columns.count;
    const first_token = columns.key > columns.start ? columns.key - columns.start : 0;
    for (let head = kv_head * group_size; head < (kv_head + 1) * group_size; head++) {
      memory.fill(totals_of(columns), 0, 4 * TILE);
      for (let token = first_token; token <= last_token; token += 2) {
        set_row(args, columns, 0, token, head);
        const other = min(token + 1, last_token);
        set_row(args, columns, 1, other, head);
        // No row of the two sees keys behind the later one, and neither did those before: their totals are 0.
        columns.count = min(count, columns.start + other + 1 - columns.key);
        attend_pair(args, columns);
        add_row(row_at(columns, 0), columns, args.row_decay);
        if (token < last_token) add_row(row_at(columns, 1), columns, args.row_decay);
      }
      columns.count = count;
      const place = (<usize>columns.sequence * args.query_heads + head) * args.capacity + columns.key;
      add_totals(columns, args.sums + 4 * place, args.sum_decay);
    }
  }
}

function add_totals(columns: Columns, sums: usize, decay: f32): void {
  const totals = totals_of(columns);
  for (let i: usize = 0; i < <usize>columns.count * 4; i += 4) {
    store<f32>(sums + i, load<f32>(sums + i) * decay + load<f32>(totals + i));
  }
}

/** Copies the attention of a row to the tile, and zeros for keys that are not in use. */
function copy_row(row: Row, columns: Columns, target: usize, count: u32): void {
  const used = min(columns.count, count);
  memory.copy(target, row.scores, 4 * used);
  memory.fill(target + 4 * used, 0, 4 * (count - used));
}

/** Items are tiles of a row of the map, of each sequence. */
export function attention_map(args: AttentionMap, first: u32, last: u32, thread: u32): void {
  const sequences = args.rows / args.rows_per_sequence;
  const last_token = args.rows_per_sequence - 1;
  for (let item = first; item < last; item++) {
    const columns = start_tile(args, thread, item / sequences, item % sequences);
    const place = <usize>args.map_offset + columns.place * args.rows_per_sequence;
    const target = args.output + 4 * (place * args.map_stride + columns.key);
    const count = min(<u32>TILE, args.map_stride - columns.key);
    if (columns.count != 0) {
      convert_keys(args, columns, args.head / (args.query_heads / args.kv_heads));
    }
    for (let token: u32 = 0; token <= last_token; token += 2) {
      const other = min(token + 1, last_token);
      if (columns.count != 0) {
        set_row(args, columns, 0, token, args.head);
        set_row(args, columns, 1, other, args.head);
        attend_pair(args, columns);
      }
      copy_row(row_at(columns, 0), columns, target + 4 * <usize>token * args.map_stride, count);
      copy_row(row_at(columns, 1), columns, target + 4 * <usize>other * args.map_stride, count);
    }
  }
}

/** Items are tiles of the capacity, of each KV head of each sequence, which has one new token. */
export function attention_rows(args: AttentionRows, first: u32, last: u32, thread: u32): void {
  const pairs = args.rows * args.kv_heads;
  const group_size = args.query_heads / args.kv_heads;
  for (let item = first; item < last; item++) {
    const kv_head = item % pairs % args.kv_heads;
    const columns = start_tile(args, thread, item / pairs, item % pairs / args.kv_heads);
    if (columns.count == 0) continue;
    convert_keys(args, columns, kv_head);
    const end = (kv_head + 1) * group_size;
    for (let head = kv_head * group_size; head < end; head += 2) {
      const other = min(head + 1, end - 1);
      set_row(args, columns, 0, 0, head);
      set_row(args, columns, 1, 0, other);
      attend_pair(args, columns);
      const place = <usize>columns.sequence * args.heads_total + args.head_offset;
      const target = args.output + 4 * (place * args.capacity + columns.key);
      copy_row(row_at(columns, 0), columns, target + 4 * <usize>head * args.capacity, columns.count);
      copy_row(row_at(columns, 1), columns, target + 4 * <usize>other * args.capacity, columns.count);
    }
  }
}
