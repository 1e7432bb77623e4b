// Attention of a step's rows to the cached keys; see flash_attention.ts.
//
// An item is a block of rows of one KV head, numbered as in flash_attention.wgsl, so that all of them share the
// conversion of keys and values. Each chunk of keys leaves a part of each row; parts are merged in order. Where items
// are few, each chunk is an item of its own and another pass merges the parts: the bits stay the same.

import {
  add_values,
  Attention,
  hide_unseen,
  LN2,
  load_keys,
  load_values,
  merge_part,
  PART_HEADER,
  Row,
  ROW_BYTES,
  score_pair,
  softmax_tile,
  start_part,
  TILE,
} from "./attention";
import { log2_of } from "./simd";

@unmanaged
class BlockAttention extends Attention {
  values: usize;
  visible: usize;
  is_masked: u32;
  visible_words: u32;
  sinks: usize;
  value_bits: u32;
  block_rows: u32; // a multiple of 2
}

@unmanaged
class FlashAttention extends BlockAttention {
  output: usize;
  log_sum: usize;
  rows: u32;
  output_stride: u32;
  chunk_keys: u32;
  scratch: usize;
}

@unmanaged
class DecodeAttention extends BlockAttention {
  partial: usize;
  rows: u32;
  splits: u32;
  tile_keys: u32;
}

/** Rows of an item. */
@unmanaged
class Block {
  place: u32; // sequence of the step
  sequence: u32; // sequence of the cache
  kv_head: u32;
  group_size: u32;
  start: u32; // position of the step's first row
  first_row: u32;
  rows: u32;
  seen_from: u32;
  seen_to: u32;
}

const BLOCK_BYTES: usize = 64;

/** Scratch of a thread: block, rows, scores, tile, then what the entry needs. */
// @ts-ignore: decorator
@inline
function scratch_of(args: BlockAttention, thread: u32): usize {
  return args.thread_scratch + <usize>thread * args.thread_bytes;
}

// @ts-ignore: decorator
@inline
function row_at(block: Block, row: u32): Row {
  return changetype<Row>(changetype<usize>(block) + BLOCK_BYTES + <usize>row * ROW_BYTES);
}

// @ts-ignore: decorator
@inline
function scores_of(args: BlockAttention, block: Block): usize {
  return changetype<usize>(block) + BLOCK_BYTES + ((<usize>args.block_rows * ROW_BYTES + 63) & ~63);
}

// @ts-ignore: decorator
@inline
function tile_of(args: BlockAttention, block: Block): usize {
  return scores_of(args, block) + TILE * args.block_rows * 4;
}

/** First part of each row in the scratch of a thread. */
// @ts-ignore: decorator
@inline
function parts_of(args: BlockAttention, block: Block): usize {
  return tile_of(args, block) + TILE * args.head_dim * 4;
}

// @ts-ignore: decorator
@inline
function part_bytes(args: BlockAttention): usize {
  return (PART_HEADER + args.head_dim) * 4;
}

// @ts-ignore: decorator
@inline
function block_count(args: BlockAttention): u32 {
  const rows = args.rows_per_sequence * (args.query_heads / args.kv_heads);
  return (rows + args.block_rows - 1) / args.block_rows;
}

/** Finds the rows of an item; `pair` counts KV heads and sequences. */
function start_block(args: BlockAttention, block: Block, index: u32, pair: u32): void {
  const group_size = args.query_heads / args.kv_heads;
  const row_count = args.rows_per_sequence * group_size;
  const first = index * args.block_rows;
  const count = min(args.block_rows, row_count - first);
  block.place = pair / args.kv_heads;
  block.sequence = load<u32>(args.state) + block.place;
  block.kv_head = pair % args.kv_heads;
  block.group_size = group_size;
  block.start = load<u32>(args.state + 4 * (1 + <usize>block.sequence));
  block.first_row = first;
  block.rows = count;
  const earliest = block.start + first / group_size + 1;
  block.seen_from = args.window != 0 && earliest > args.window ? earliest - args.window : 0;
  block.seen_to = min(block.start + (first + count - 1) / group_size + 1, args.capacity);
  const scores = scores_of(args, block);
  for (let index: u32 = 0; index < count; index++) {
    const row = row_at(block, index);
    const head = head_of(block, index);
    const place = row_of(args, block, index);
    row.query = args.qkv + 4 * (<usize>place * args.stride + <usize>head * args.head_dim);
    row.scores = scores + TILE * index * 4;
    row.visible = args.is_masked != 0 ? args.visible + 4 * <usize>head * args.visible_words : 0;
    row.position = block.start + (first + index) / group_size;
  }
}

/** Query head of a block's row. */
// @ts-ignore: decorator
@inline
function head_of(block: Block, index: u32): u32 {
  return block.kv_head * block.group_size + (block.first_row + index) % block.group_size;
}

/** The step's row. */
// @ts-ignore: decorator
@inline
function row_of(args: BlockAttention, block: Block, index: u32): u32 {
  return block.place * args.rows_per_sequence + (block.first_row + index) / block.group_size;
}

/** Adds the keys from `begin` to `end` to the parts of a block's rows. */
function attend(args: BlockAttention, block: Block, begin: u32, end: u32): void {
  const head_dim = <usize>args.head_dim;
  const tile = tile_of(args, block);
  const head = <usize>block.sequence * args.kv_heads + block.kv_head;
  for (let key = begin; key < end; key += <u32>TILE) {
    const count = min(<u32>TILE, end - key);
    load_keys(args, head, key, count, tile);
    for (let index: u32 = 0; index < block.rows; index += 2) {
      const a = row_at(block, index);
      const b = row_at(block, min(index + 1, block.rows - 1));
      score_pair(args, a.query, b.query, tile, seen_of(b, key, count), a.scores, b.scores);
    }
    for (let index: u32 = 0; index < block.rows; index++) {
      const row = row_at(block, index);
      const seen = seen_of(row_at(block, min(index | 1, block.rows - 1)), key, count);
      hide_unseen(row, args.window, key, seen);
      softmax_tile(row, seen);
    }
    const values = load_values(args, args.values, args.value_bits, head, key, count, tile);
    for (let index: u32 = 0; index < block.rows; index += 2) {
      const a = row_at(block, index);
      const b = row_at(block, min(index + 1, block.rows - 1));
      add_values(a, b, values, seen_of(b, key, count), head_dim);
    }
  }
}

/** Keys of a tile that are not behind the position of a row, the later one of a pair. */
// @ts-ignore: decorator
@inline
function seen_of(row: Row, key: u32, count: u32): u32 {
  return max(0, min(<i32>count, row.position + 1 - <i32>key));
}

/** Computes the parts of a chunk of keys, which are written from `parts` on. */
function attend_chunk(args: FlashAttention, block: Block, chunk: u32, parts: usize): void {
  for (let index: u32 = 0; index < block.rows; index++) {
    const row = row_at(block, index);
    row.part = parts + <usize>index * part_bytes(args);
    row.vector = row.part + 4 * PART_HEADER;
    start_part(row.part, args.head_dim, 0);
  }
  const first = chunk * args.chunk_keys;
  const begin = max(first, block.seen_from) & ~(<u32>TILE - 1);
  attend(args, block, begin, min(first + args.chunk_keys, block.seen_to));
}

/** Starts what the parts of a block's rows are merged into. */
function start_totals(args: FlashAttention, block: Block, totals: usize): void {
  for (let index: u32 = 0; index < block.rows; index++) {
    const sink = args.sinks != 0 ? args.sinks + 4 * <usize>head_of(block, index) : 0;
    start_part(totals + <usize>index * part_bytes(args), args.head_dim, sink);
  }
}

function merge_parts(args: FlashAttention, block: Block, totals: usize, parts: usize): void {
  for (let index: u32 = 0; index < block.rows; index++) {
    const offset = <usize>index * part_bytes(args);
    merge_part(totals + offset, parts + offset, args.head_dim);
  }
}

function write_totals(args: FlashAttention, block: Block, totals: usize): void {
  for (let index: u32 = 0; index < block.rows; index++) {
    const head = <usize>head_of(block, index);
    const row = <usize>row_of(args, block, index);
    const output = args.output + 4 * (row * args.output_stride + head * args.head_dim);
    const log_sum = args.log_sum + 4 * (head * args.rows + row);
    write_part(totals + <usize>index * part_bytes(args), args.head_dim, output, log_sum);
  }
}

/** Divides by the sum of the exponentials. */
function write_part(part: usize, head_dim: usize, output: usize, log_sum: usize): void {
  const sum = load<f32>(part, 4);
  const sum4 = f32x4.splat(sum);
  const vector = part + 4 * PART_HEADER;
  const whole = head_dim & ~3;
  for (let i: usize = 0; i < whole; i += 4) {
    v128.store(output + 4 * i, f32x4.div(v128.load(vector + 4 * i), sum4));
  }
  for (let i = whole; i < head_dim; i++) {
    store<f32>(output + 4 * i, load<f32>(vector + 4 * i) / sum);
  }
  store<f32>(log_sum, <f32>((<f64>load<f32>(part) + log2_of(sum)) * LN2));
}

/** Items are blocks of rows, those with most keys first, of each KV head of each sequence. */
export function flash_attention(args: FlashAttention, first: u32, last: u32, thread: u32): void {
  const block = changetype<Block>(scratch_of(args, thread));
  const blocks = block_count(args);
  const pairs = args.rows / args.rows_per_sequence * args.kv_heads;
  const parts = parts_of(args, block);
  const totals = parts + <usize>args.block_rows * part_bytes(args);
  for (let item = first; item < last; item++) {
    start_block(args, block, blocks - 1 - item / pairs, item % pairs);
    start_totals(args, block, totals);
    const end = (block.seen_to + args.chunk_keys - 1) / args.chunk_keys;
    for (let chunk = block.seen_from / args.chunk_keys; chunk < end; chunk++) {
      attend_chunk(args, block, chunk, parts);
      merge_parts(args, block, totals, parts);
    }
    write_totals(args, block, totals);
  }
}

/** Chunks of the capacity. */
// @ts-ignore: decorator
@inline
function chunk_count(args: FlashAttention): u32 {
  return (args.capacity + args.chunk_keys - 1) / args.chunk_keys;
}

/** Where the parts of a block's chunk lie. */
// @ts-ignore: decorator
@inline
function chunk_parts(args: FlashAttention, item: u32, chunk: u32): usize {
  const index = <usize>item * chunk_count(args) + chunk;
  return args.scratch + index * args.block_rows * part_bytes(args);
}

/** Items are chunks of keys of the same blocks. */
export function flash_attention_chunks(
  args: FlashAttention,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const block = changetype<Block>(scratch_of(args, thread));
  const blocks = block_count(args);
  const chunks = chunk_count(args);
  for (let item = first; item < last; item++) {
    const own = item / chunks;
    const chunk = item % chunks;
    start_block(args, block, own % blocks, own / blocks);
    const from = block.seen_from / args.chunk_keys;
    if (chunk < from || chunk * args.chunk_keys >= block.seen_to) continue;
    attend_chunk(args, block, chunk, chunk_parts(args, own, chunk));
  }
}

/** Merges the parts of chunks; items are blocks. */
export function flash_attention_merge(
  args: FlashAttention,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const block = changetype<Block>(scratch_of(args, thread));
  const blocks = block_count(args);
  const totals = parts_of(args, block);
  for (let item = first; item < last; item++) {
    start_block(args, block, item % blocks, item / blocks);
    start_totals(args, block, totals);
    const end = (block.seen_to + args.chunk_keys - 1) / args.chunk_keys;
    for (let chunk = block.seen_from / args.chunk_keys; chunk < end; chunk++) {
      merge_parts(args, block, totals, chunk_parts(args, item, chunk));
    }
    write_totals(args, block, totals);
  }
}

/** Items are splits of the keys of each block of rows, of each KV head of each sequence. */
export function decode_attention(args: DecodeAttention, first: u32, last: u32, thread: u32): void {
  const block = changetype<Block>(scratch_of(args, thread));
  const blocks = block_count(args);
  for (let item = first; item < last; item++) {
    const split = item % args.splits;
    const own = item / args.splits;
    start_block(args, block, own % blocks, own / blocks);
    for (let index: u32 = 0; index < block.rows; index++) {
      const head = <usize>head_of(block, index);
      const row = <usize>split * args.rows + row_of(args, block, index);
      const sink = args.sinks != 0 && split == 0 ? args.sinks + 4 * head : 0;
      const place = row * args.query_heads + head;
      row_at(block, index).part = args.partial + place * part_bytes(args);
      row_at(block, index).vector = row_at(block, index).part + 4 * PART_HEADER;
      start_part(row_at(block, index).part, args.head_dim, sink);
    }
    const from = block.seen_from / args.tile_keys * args.tile_keys;
    const tiles = args.splits * args.tile_keys;
    const length = (block.seen_to - from + tiles - 1) / tiles * args.tile_keys;
    const begin = from + split * length;
    attend(args, block, begin, min(begin + length, block.seen_to));
  }
}

@unmanaged
class DecodeAttentionMerge {
  partial: usize;
  output: usize;
  log_sum: usize;
  rows: u32;
  query_heads: u32;
  output_stride: u32;
  splits: u32;
  HEAD_DIM: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** Items are query heads of rows. */
export function decode_attention_merge(
  args: DecodeAttentionMerge,
  first: u32,
  last: u32,
  thread: u32,
): void {
  const head_dim = <usize>args.HEAD_DIM;
  const total = args.thread_scratch + <usize>thread * args.thread_bytes;
  for (let item = <usize>first; item < <usize>last; item++) {
    const row = item / args.query_heads;
    const head = item % args.query_heads;
    start_part(total, head_dim, 0);
    for (let split: usize = 0; split < <usize>args.splits; split++) {
      const place = (split * args.rows + row) * args.query_heads + head;
      merge_part(total, args.partial + place * 4 * (PART_HEADER + head_dim), head_dim);
    }
    const output = args.output + 4 * (row * args.output_stride + head * head_dim);
    write_part(total, head_dim, output, args.log_sum + 4 * (head * args.rows + row));
  }
}
