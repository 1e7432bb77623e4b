// Attention of a step's rows to listed tokens; see selected_attention.ts.
//
// An item is a block of rows of the query heads that share keys and a list. Full tokens are summed up in tiles and
// chunks of the list as flash_attention.as does with keys, so that a list of all tokens gives the same bits.

import {
  add_values,
  add_weighted,
  Attention,
  gather_keys,
  gather_values,
  LOWEST,
  merge_part,
  PART_HEADER,
  Row,
  score_pair,
  seen4,
  softmax_tile,
  start_part,
  TILE,
} from "./attention";
import { Factors, find_factors } from "./marginal";
import { exp2_4 } from "./simd";

@unmanaged
class ListAttention extends Attention {
  values: usize;
  lists: usize;
  small_attention: usize;
  attention: usize;
  sinks: usize;
  value_bits: u32;
  rows: u32;
  groups_per_layer: u32;
  group_offset: u32;
  groups: u32;
  list_words: u32;
  small_heads: u32;
  row_stride: u32;
  has_attention: u32;
  attention_stride: u32;
  block_rows: u32; // a multiple of 2
  chunk_keys: u32;
}

@unmanaged
class SelectedAttention extends ListAttention {
  output: usize;
  output_stride: u32;
}

@unmanaged
class SelectedSplit extends ListAttention {
  partial: usize;
  splits: u32;
  tile_keys: u32;
}

/** A row that also follows the small model's attention. */
@unmanaged
class ListRow extends Row {
  head: u32;
  place: u32; // the step's row
  small: usize; // the small model's row
  attention: usize; // scores of full tokens, if they are written
  value_only: usize; // sum of values weighted by the small model's attention
  full_mass: f32;
  other_mass: f32;
  value_only_mass: f32;
  target: usize; // where a split's part goes
}

const LIST_ROW_BYTES: usize = 64;

/** Rows and list of an item. */
@unmanaged
class ListBlock {
  rows: u32;
  is_broken: u32;
  full: u32; // tokens
  value_only: u32;
  full_sinks: u32;
  combine: u32; // index in MARGINAL_MODES
  first_row: u32; // added to the rows of the list
  entries: usize; // pairs of token and row
  full_factor: f32;
  value_only_factor: f32;
  is_weighed: u32; // whether the small model's attention to full tokens matters
}

const BLOCK_BYTES: usize = 64;
const HEADER_WORDS: u32 = 4;
const PART_WORDS: usize = 8;
const BROKEN_PART: f32 = -1;
const WEIGHED_REST: u32 = 256;
const REST_HEADER: usize = 4;
const JOINT_NOSINK: u32 = 4;

// @ts-ignore: decorator
@inline
function row_at(block: ListBlock, row: u32): ListRow {
  return changetype<ListRow>(changetype<usize>(block) + BLOCK_BYTES + row * <u32>LIST_ROW_BYTES);
}

/** Positions of a tile's tokens. */
// @ts-ignore: decorator
@inline
function tokens_of(args: ListAttention, block: ListBlock): usize {
  return changetype<usize>(block) + BLOCK_BYTES + args.block_rows * <u32>LIST_ROW_BYTES;
}

// @ts-ignore: decorator
@inline
function scores_of(args: ListAttention, block: ListBlock): usize {
  return tokens_of(args, block) + 4 * TILE;
}

// @ts-ignore: decorator
@inline
function tile_of(args: ListAttention, block: ListBlock): usize {
  return scores_of(args, block) + 4 * TILE * args.block_rows;
}

/** Parts, totals and sums of value-only tokens of each row in the scratch of a thread. */
// @ts-ignore: decorator
@inline
function parts_of(args: ListAttention, block: ListBlock): usize {
  return tile_of(args, block) + 4 * TILE * args.head_dim;
}

// @ts-ignore: decorator
@inline
function part_bytes(args: ListAttention): usize {
  return (PART_HEADER + args.head_dim) * 4;
}

/** Heads that share keys and a list, times lists and KV heads that they are shared by. */
// @ts-ignore: decorator
@inline
function part_count(args: ListAttention): u32 {
  return max(args.groups_per_layer, args.kv_heads);
}

// @ts-ignore: decorator
@inline
function block_count(args: ListAttention): u32 {
  const rows = args.rows_per_sequence * (args.query_heads / part_count(args));
  return (rows + args.block_rows - 1) / args.block_rows;
}

/** Finds rows and list of an item; items count blocks, then parts of the heads, then sequences. */
function start_block(args: ListAttention, thread: u32, item: u32): ListBlock {
  const block = changetype<ListBlock>(args.thread_scratch + <usize>thread * args.thread_bytes);
  const blocks = block_count(args);
  const parts = part_count(args);
  const members = args.query_heads / parts;
  const first = item % blocks * args.block_rows;
  const part = item / blocks % parts;
  const place = item / blocks / parts;
  const sequence = load<u32>(args.state) + place;
  const start = load<u32>(args.state + 4 * (1 + <usize>sequence));
  block.rows = min(args.block_rows, args.rows_per_sequence * members - first);
  const group_heads = args.query_heads / args.groups_per_layer;
  const list = find_list(args, block, sequence, part * members, group_heads);
  block.first_row = part * members / (args.query_heads / args.kv_heads) * args.row_stride;
  for (let index: u32 = 0; index < block.rows; index++) {
    const row = row_at(block, index);
    const token = (first + index) / members;
    row.head = part * members + (first + index) % members;
    row.place = place * args.rows_per_sequence + token;
    row.position = start + token;
    row.query = args.qkv + 4 * (<usize>row.place * args.stride + <usize>row.head * args.head_dim);
    row.scores = scores_of(args, block) + TILE * index * 4;
    const matched = load<u32>(list + 4 * (HEADER_WORDS + row.head % group_heads));
    const small = <usize>sequence * args.rows_per_sequence + token;
    row.small = args.small_attention + 4 * (small * args.small_heads + matched) * args.capacity;
    const softmax = <usize>row.place * args.query_heads + row.head;
    row.attention = args.has_attention != 0
      ? args.attention + 4 * softmax * args.attention_stride
      : 0;
    row.full_mass = 0;
    row.other_mass = 0;
    row.value_only_mass = 0;
  }
  return block;
}

/** Reads the header of a list. */
function find_list(
  args: ListAttention,
  block: ListBlock,
  sequence: u32,
  head: u32,
  group_heads: u32,
): usize {
  const head_group = sequence * args.groups + args.group_offset + head / group_heads;
  const list = args.lists + 4 * <usize>head_group * args.list_words;
  const start = HEADER_WORDS + group_heads;
  block.full = load<u32>(list);
  block.value_only = load<u32>(list, 4);
  block.full_sinks = load<u32>(list, 8);
  block.combine = load<u32>(list, 12) % WEIGHED_REST;
  block.is_weighed = block.value_only != 0 || load<u32>(list, 12) >= WEIGHED_REST ? 1 : 0;
  block.entries = list + 4 * start;
  const room = (args.list_words - start) / 2;
  block.is_broken = <u64>block.full + block.value_only > <u64>room ? 1 : 0;
  return list;
}

/** Copies the positions of some tokens; those that fill the last vector are seen by no row. */
function load_tokens(entries: usize, count: usize, tokens: usize): void {
  v128.store(tokens + 4 * (count & ~3), i32x4.splat(i32.MAX_VALUE));
  for (let entry: usize = 0; entry < count; entry++) {
    store<u32>(tokens + 4 * entry, load<u32>(entries + 8 * entry));
  }
}

/** Gives tokens that a row does not see the lowest score. */
function hide_tokens(row: Row, window: i32, tokens: usize, count: usize): void {
  const lowest = f32x4.splat(LOWEST);
  for (let i: usize = 0; i < count * 4; i += 16) {
    const seen = seen4(row, window, v128.load(tokens + i));
    v128.store(row.scores + i, v128.bitselect(v128.load(row.scores + i), lowest, seen));
  }
}

/** The small model's attention to a token, 0 if the row does not see it. */
// @ts-ignore: decorator
@inline
function mass_of(row: ListRow, window: i32, token: i32): f32 {
  const is_seen = token <= row.position && (window == 0 || token > row.position - window);
  return is_seen ? load<f32>(row.small + 4 * <usize>token) : 0;
}

/** Adds the small model's attention to full tokens; `first` is the place of the first one in the list. */
function add_masses(row: ListRow, block: ListBlock, window: i32, tokens: usize, first: u32, count: u32): void {
  let mass: f32 = 0;
  let other: f32 = 0;
  for (let entry: u32 = 0; entry < count; entry++) {
    const own = mass_of(row, window, load<i32>(tokens + 4 * <usize>entry));
    mass += own;
    if (first + entry >= block.full_sinks) other += own;
  }
  row.full_mass += mass;
  row.other_mass += other;
}

/** Follows the sum of the exponentials without the sinks, which are the first tokens of a list. */
function add_others(row: Row, total: f32, first: u32, count: u32, sinks: u32): void {
  let others = total;
  if (first < sinks) {
    others = 0;
    for (let entry = sinks - first; entry < count; entry++) {
      others += load<f32>(row.scores + 4 * <usize>entry);
    }
  }
  store<f32>(row.part, load<f32>(row.part, 8) * row.factor + others, 8);
}

/** Adds full tokens from `begin` to `end` of the list to the parts of a block's rows. */
function attend_full(args: ListAttention, block: ListBlock, begin: u32, end: u32): void {
  const head_dim = <usize>args.head_dim;
  const tile = tile_of(args, block);
  const tokens = tokens_of(args, block);
  for (let first = begin; first < end; first += <u32>TILE) {
    const count = min(<u32>TILE, end - first);
    const entries = block.entries + 8 * <usize>first;
    load_tokens(entries, count, tokens);
    gather_keys(args.keys, args.key_bits, entries, block.first_row, count, head_dim, tile);
    for (let index: u32 = 0; index < block.rows; index += 2) {
      const a = row_at(block, index);
      const b = row_at(block, min(index + 1, block.rows - 1));
      score_pair(args, a.query, b.query, tile, count, a.scores, b.scores);
    }
    for (let index: u32 = 0; index < block.rows; index++) {
      const row = row_at(block, index);
      hide_tokens(row, args.window, tokens, count);
      if (row.attention != 0) {
        memory.copy(row.attention + 4 * <usize>first, row.scores, 4 * <usize>count);
      }
      const total = softmax_tile(row, count);
      add_others(row, total, first, count, block.full_sinks);
      if (block.is_weighed != 0) add_masses(row, block, args.window, tokens, first, count);
    }
    gather_values(args.values, args.value_bits, entries, block.first_row, count, head_dim, tile);
    for (let index: u32 = 0; index < block.rows; index += 2) {
      const a = row_at(block, index);
      const b = row_at(block, min(index + 1, block.rows - 1));
      add_values(a, b, tile, count, head_dim);
    }
  }
}

/** Adds value-only tokens from `begin` to `end`, which follow the full ones in the list. */
function attend_value_only(args: ListAttention, block: ListBlock, begin: u32, end: u32): void {
  const head_dim = <usize>args.head_dim;
  const tile = tile_of(args, block);
  for (let first = begin; first < end; first += <u32>TILE) {
    const count = min(<u32>TILE, end - first);
    const entries = block.entries + 8 * (<usize>block.full + first);
    for (let index: u32 = 0; index < block.rows; index++) {
      const row = row_at(block, index);
      let total: f32 = 0;
      for (let entry: usize = 0; entry < <usize>count; entry++) {
        const mass = mass_of(row, args.window, load<i32>(entries + 8 * entry));
        store<f32>(row.scores + 4 * entry, mass);
        total += mass;
      }
      row.value_only_mass += total;
    }
    gather_values(args.values, args.value_bits, entries, block.first_row, count, head_dim, tile);
    for (let index: u32 = 0; index < block.rows; index += 2) {
      const a = row_at(block, index);
      const b = row_at(block, min(index + 1, block.rows - 1));
      add_weighted(a, b, 1, 1, a.value_only, b.value_only, tile, count, head_dim);
    }
  }
}

/** Sums of a block's rows over all chunks. */
// @ts-ignore: decorator
@inline
function totals_of(args: ListAttention, block: ListBlock): usize {
  return parts_of(args, block) + args.block_rows * <u32>part_bytes(args);
}

/** Sums up all full tokens of a list, chunk by chunk, as flash_attention.as does with keys. */
function attend_chunks(args: ListAttention, block: ListBlock): void {
  const head_dim = <usize>args.head_dim;
  const totals = totals_of(args, block);
  for (let index: u32 = 0; index < block.rows; index++) {
    const row = row_at(block, index);
    const sink = args.sinks != 0 ? args.sinks + 4 * <usize>row.head : 0;
    start_part(totals + part_bytes(args) * index, head_dim, sink);
    row.part = parts_of(args, block) + part_bytes(args) * index;
    row.vector = row.part + 4 * PART_HEADER;
  }
  for (let chunk: u32 = 0; chunk < block.full; chunk += args.chunk_keys) {
    for (let index: u32 = 0; index < block.rows; index++) {
      start_part(row_at(block, index).part, head_dim, 0);
    }
    attend_full(args, block, chunk, min(chunk + args.chunk_keys, block.full));
    for (let index: u32 = 0; index < block.rows; index++) {
      merge_part(totals + part_bytes(args) * index, row_at(block, index).part, head_dim);
    }
  }
}

/** Items are blocks of rows of the heads that share keys and a list, of each sequence. */
export function selected_attention(
  args: SelectedAttention,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const head_dim = <usize>args.head_dim;
  for (let item = first; item < last; item++) {
    const block = start_block(args, thread, item);
    if (block.is_broken != 0) {
      for (let index: u32 = 0; index < block.rows; index++) {
        fill_nan(output_of(args, row_at(block, index)), head_dim);
      }
      continue;
    }
    const totals = totals_of(args, block);
    const value_only = totals + args.block_rows * <u32>part_bytes(args);
    for (let index: u32 = 0; index < block.rows; index++) {
      const row = row_at(block, index);
      row.value_only = value_only + head_dim * 4 * index;
      memory.fill(row.value_only, 0, head_dim * 4);
    }
    attend_chunks(args, block);
    attend_value_only(args, block, 0, block.value_only);
    for (let index: u32 = 0; index < block.rows; index++) {
      finish_row(args, block, index, totals + part_bytes(args) * index);
    }
  }
}

// @ts-ignore: decorator
@inline
function output_of(args: SelectedAttention, row: ListRow): usize {
  return args.output +
    4 * (<usize>row.place * args.output_stride + <usize>row.head * args.head_dim);
}

function fill_nan(output: usize, head_dim: usize): void {
  for (let i: usize = 0; i < head_dim; i++) store<f32>(output + 4 * i, NaN);
}

/** Joins full and value-only tokens. */
function finish_row(args: SelectedAttention, block: ListBlock, index: u32, total: usize): void {
  const row = row_at(block, index);
  const sum = load<f32>(total, 4);
  const factors = changetype<Factors>(changetype<usize>(block) + offsetof<ListBlock>("full_factor"));
  find_factors(
    factors,
    block.combine,
    row.full_mass,
    row.value_only_mass,
    row.other_mass,
    load<f32>(total, 8) / sum,
  );
  const output = output_of(args, row);
  write_joined(total + 4 * PART_HEADER, sum, row.value_only, factors, args.head_dim, output);
  if (row.attention != 0) normalize(row.attention, block.full, load<f32>(total), sum);
}

function write_joined(
  full: usize,
  sum: f32,
  value_only: usize,
  factors: Factors,
  head_dim: usize,
  output: usize,
): void {
  const sum4 = f32x4.splat(sum);
  const full_factor = f32x4.splat(factors.full);
  const value_only_factor = f32x4.splat(factors.value_only);
  for (let i: usize = 0; i < head_dim * 4; i += 16) {
    const own = f32x4.mul(f32x4.div(v128.load(full + i), sum4), full_factor);
    const other = f32x4.mul(v128.load(value_only + i), value_only_factor);
    v128.store(output + i, f32x4.add(own, other));
  }
}

/** Turns scores in base 2 into a softmax. */
function normalize(scores: usize, count: u32, largest: f32, sum: f32): void {
  const whole = <usize>count & ~3;
  const largest4 = f32x4.splat(largest);
  const sum4 = f32x4.splat(sum);
  for (let i: usize = 0; i < whole * 4; i += 16) {
    const power = exp2_4(f32x4.sub(v128.load(scores + i), largest4));
    v128.store(scores + i, f32x4.div(power, sum4));
  }
  for (let i = whole; i < <usize>count; i++) {
    const power = exp2_4(f32x4.sub(f32x4.splat(load<f32>(scores + 4 * i)), largest4));
    store<f32>(scores + 4 * i, f32x4.extract_lane(power, 0) / sum);
  }
}

/** Items are splits of the lists of the same blocks. */
export function selected_attention_split(
  args: SelectedSplit,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const head_dim = <usize>args.head_dim;
  const bytes = (PART_WORDS + 2 * head_dim) * 4;
  for (let item = first; item < last; item++) {
    const split = item % args.splits;
    const block = start_block(args, thread, item / args.splits);
    for (let index: u32 = 0; index < block.rows; index++) {
      const row = row_at(block, index);
      const place = (<usize>split * args.rows + row.place) * args.query_heads + row.head;
      row.target = args.partial + place * bytes;
      row.part = row.target;
      row.vector = row.part + 4 * PART_WORDS;
      row.value_only = row.vector + 4 * head_dim;
      memory.fill(row.part, 0, bytes);
      const sink = args.sinks != 0 && split == 0 ? args.sinks + 4 * <usize>row.head : 0;
      start_part(row.part, head_dim, sink);
    }
    if (block.is_broken == 0 && args.splits == 1) {
      attend_whole(args, block);
    } else if (block.is_broken == 0) {
      const tiles = args.splits * args.tile_keys;
      let length = (block.full + tiles - 1) / tiles * args.tile_keys;
      const full = min(split * length, block.full);
      attend_full(args, block, full, min(full + length, block.full));
      length = (block.value_only + tiles - 1) / tiles * args.tile_keys;
      const value_only = min(split * length, block.value_only);
      attend_value_only(args, block, value_only, min(value_only + length, block.value_only));
    }
    for (let index: u32 = 0; index < block.rows; index++) {
      finish_part(block, row_at(block, index));
    }
  }
}

/** The only split of a list: gives the same bits as selected_attention. */
function attend_whole(args: SelectedSplit, block: ListBlock): void {
  const head_dim = <usize>args.head_dim;
  attend_chunks(args, block);
  attend_value_only(args, block, 0, block.value_only);
  for (let index: u32 = 0; index < block.rows; index++) {
    const row = row_at(block, index);
    const total = totals_of(args, block) + part_bytes(args) * index;
    row.part = row.target;
    memory.copy(row.part, total, 4 * PART_HEADER);
    memory.copy(row.part + 4 * PART_WORDS, total + 4 * PART_HEADER, 4 * head_dim);
  }
}

/** Writes the header of a part; see attention_merge.ts. */
function finish_part(block: ListBlock, row: ListRow): void {
  if (block.is_broken != 0) {
    store<f32>(row.part, 0);
    store<f32>(row.part, 0, 4);
    store<f32>(row.part, BROKEN_PART, 28);
    return;
  }
  const others = block.combine == JOINT_NOSINK ? load<f32>(row.part, 8) : 0;
  store<f32>(row.part, row.full_mass, 8);
  store<f32>(row.part, row.value_only_mass, 12);
  store<f32>(row.part, row.other_mass, 16);
  store<f32>(row.part, others, 20);
  store<f32>(row.part, <f32>block.combine, 24);
  store<f32>(row.part, <f32>block.full, 28);
}

@unmanaged
class SelectedMerge {
  partial: usize;
  output: usize;
  attention: usize;
  rest: usize; // 0 where there is none
  rows: u32;
  rows_per_sequence: u32;
  rest_parts: u32;
  query_heads: u32;
  output_stride: u32;
  splits: u32;
  has_attention: u32;
  attention_stride: u32;
  HEAD_DIM: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** What the parts of a row add up to, before two vectors. */
@unmanaged
class Merged {
  full_factor: f32;
  value_only_factor: f32;
  largest: f32;
  sum: f32;
  full_mass: f32;
  value_only_mass: f32;
  other_mass: f32;
  others: f32;
}

/** Items are query heads of rows. */
export function selected_attention_merge(
  args: SelectedMerge,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const head_dim = <usize>args.HEAD_DIM;
  const merged = changetype<Merged>(args.thread_scratch + <usize>thread * args.thread_bytes);
  const full = changetype<usize>(merged) + 32;
  const value_only = full + 4 * head_dim;
  for (let item = <usize>first; item < <usize>last; item++) {
    const row = item / args.query_heads;
    const head = item % args.query_heads;
    const output = args.output + 4 * (row * args.output_stride + head * head_dim);
    const part = args.partial + item * (PART_WORDS + 2 * head_dim) * 4;
    const tokens = load<f32>(part, 28);
    if (tokens == BROKEN_PART) {
      fill_nan(output, head_dim);
      continue;
    }
    add_parts(args, merged, part);
    if (args.rest != 0) add_rest(args, merged, row, head);
    const factors = changetype<Factors>(changetype<usize>(merged));
    find_factors(
      factors,
      <u32>load<f32>(part, 24),
      merged.full_mass,
      merged.value_only_mass,
      merged.other_mass,
      merged.others / merged.sum,
    );
    write_joined(full, merged.sum, value_only, factors, head_dim, output);
    if (args.has_attention == 0) continue;
    const scores = args.attention + 4 * item * args.attention_stride;
    normalize(scores, <u32>tokens, merged.largest, merged.sum);
  }
}

/** Adds the mean of the tokens that are not listed as one more value-only token; see `withRest` in rest_values.ts. */
function add_rest(args: SelectedMerge, merged: Merged, row: usize, head: usize): void {
  const head_dim = <usize>args.HEAD_DIM;
  const part = head / (args.query_heads / args.rest_parts);
  const place = row / args.rows_per_sequence * args.rest_parts + part;
  const rest = args.rest + 4 * place * (REST_HEADER + head_dim);
  let mass = load<f32>(rest);
  if (mass > 0) {
    merged.full_mass = max<f32>(0, 1 - mass - merged.value_only_mass);
    merged.other_mass = merged.full_mass * (merged.others / merged.sum);
  } else {
    if (mass < 0) mass = max<f32>(0, 1 - merged.full_mass - merged.value_only_mass);
    if (mass + merged.value_only_mass == 0) merged.full_mass = 0; // nothing joins the full tokens
  }
  merged.value_only_mass += mass;
  const value_only = changetype<usize>(merged) + 32 + 4 * head_dim;
  for (let i: usize = 0; i < head_dim; i++) {
    const mean = load<f32>(rest + 4 * (REST_HEADER + i));
    store<f32>(value_only + 4 * i, load<f32>(value_only + 4 * i) + mass * mean);
  }
}

/** Adds up the parts of a row; `first` is that of the first split. */
function add_parts(args: SelectedMerge, merged: Merged, first: usize): void {
  const head_dim = <usize>args.HEAD_DIM;
  const size = (PART_WORDS + 2 * head_dim) * 4;
  const step = <usize>args.rows * args.query_heads * size;
  const end = first + step * args.splits;
  const vectors = changetype<usize>(merged) + 32;
  memory.fill(changetype<usize>(merged), 0, 32 + 8 * head_dim);
  merged.largest = LOWEST;
  for (let part = first; part < end; part += step) {
    merged.largest = max(merged.largest, load<f32>(part));
  }
  for (let part = first; part < end; part += step) {
    const power = exp2_4(f32x4.splat(load<f32>(part) - merged.largest));
    const factor = f32x4.extract_lane(power, 0);
    merged.sum += factor * load<f32>(part, 4);
    merged.full_mass += load<f32>(part, 8);
    merged.value_only_mass += load<f32>(part, 12);
    merged.other_mass += load<f32>(part, 16);
    merged.others += factor * load<f32>(part, 20);
    for (let i: usize = 0; i < 2 * head_dim; i++) {
      const value = load<f32>(part + 4 * (PART_WORDS + i));
      const own = i < head_dim ? factor * value : value;
      store<f32>(vectors + 4 * i, load<f32>(vectors + 4 * i) + own);
    }
  }
}
