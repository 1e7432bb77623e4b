// The tokens of each head group, ranked by saliency; items are head groups of sequences. See plan_by_saliency.ts.
//
// As in the WGSL, a radix select finds the least salient critical token and the least salient marginal one, and position
// breaks ties.

@unmanaged
class PlanBySaliency {
  state: usize;
  saliency: usize;
  budgets: usize;
  matched: usize;
  residency: usize;
  slots: usize;
  lists: usize;
  groups: u32;
  group_heads: u32;
  groups_per_layer: u32;
  kv_heads: u32;
  capacity: u32;
  list_words: u32;
  tokens_offset: u32;
  only_kept: u32;
  ties_later: u32;
  group_offset: u32;
  has_slots: u32;
  planned: u32; // head groups of a sequence
  BROKEN_LIST: u32;
  CALIBRATION_SINKS: u32;
  HEADER_WORDS: u32;
  thread_scratch: usize;
  thread_bytes: u32;
}

/** Order of the least salient token that is taken. */
@unmanaged
class Cut {
  order: u32;
  /** Of the tokens of that order, in ascending order, those from `from` to before `to` are taken. */
  from: u32;
  to: u32;
  /** Tokens of that order so far. */
  seen: u32;
}

/** Tokens of one head group, before the bins and two arrays of orders in the scratch of a thread. */
@unmanaged
class Plan {
  tokens: u32;
  sink: u32;
  recent_start: u32;
  open: u32; // tokens that are ranked
  saliency: usize;
  residency: usize; // 0 if all may be chosen
  slots: u32; // head vectors of the KV head
}

const PLAN_BYTES: usize = 64;
const BINS: usize = 256;

// @ts-ignore: decorator
@inline
function cut_at(plan: Plan, index: usize): Cut {
  return changetype<Cut>(changetype<usize>(plan) + 32 + 16 * index);
}

// @ts-ignore: decorator
@inline
function bins_of(plan: Plan): usize {
  return changetype<usize>(plan) + PLAN_BYTES;
}

// @ts-ignore: decorator
@inline
function orders_of(plan: Plan): usize {
  return bins_of(plan) + 4 * BINS;
}

/** Maps the bits of a float to an integer of the same order; minus zero counts as zero. */
// @ts-ignore: decorator
@inline
function order_of(bits: u32): u32 {
  if (bits == 0x80000000) return bits;
  return bits >> 31 == 1 ? ~bits : bits | 0x80000000;
}

// @ts-ignore: decorator
@inline
function is_open(plan: Plan, token: usize): bool {
  return plan.residency == 0 || load<u32>(plan.residency + 4 * token) == 1;
}

/** Whether a score is not a number. */
function has_nan(plan: Plan): bool {
  const whole = <usize>plan.tokens & ~3;
  let found = i32x4.splat(0);
  for (let i: usize = 0; i < whole * 4; i += 16) {
    const scores = v128.load(plan.saliency + i);
    found = v128.or(found, f32x4.ne(scores, scores));
  }
  for (let i = whole; i < <usize>plan.tokens; i++) {
    const score = load<f32>(plan.saliency + 4 * i);
    if (score != score) return true;
  }
  return v128.any_true(found);
}

/** Orders of four scores. */
// @ts-ignore: decorator
@inline
function orders4(bits: v128): v128 {
  const lowest = i32x4.splat(0x80000000);
  const orders = v128.xor(bits, v128.or(i32x4.shr_s(bits, 31), lowest));
  return v128.bitselect(lowest, orders, i32x4.eq(bits, lowest));
}

/** Writes the orders of all tokens but sinks and recent ones, where all may be chosen. */
function rank_open(plan: Plan): void {
  plan.open = plan.recent_start - plan.sink;
  const source = plan.saliency + 4 * <usize>plan.sink;
  const target = orders_of(plan);
  const whole = <usize>plan.open & ~3;
  for (let i: usize = 0; i < whole * 4; i += 16) {
    v128.store(target + i, orders4(v128.load(source + i)));
  }
  for (let i = whole; i < <usize>plan.open; i++) {
    store<u32>(target + 4 * i, order_of(load<u32>(source + 4 * i)));
  }
}

/** Writes the orders of all tokens that are ranked; false if a score is not a number. */
function rank_tokens(plan: Plan): bool {
  if (plan.residency == 0) {
    if (has_nan(plan)) return false;
    rank_open(plan);
    return true;
  }
  let target = orders_of(plan);
  for (let token: usize = 0; token < <usize>plan.tokens; token++) {
    const bits = load<u32>(plan.saliency + 4 * token);
    if ((bits & 0x7fffffff) > 0x7f800000) return false;
    if (<u32>token < plan.sink || <u32>token >= plan.recent_start) continue;
    if (!is_open(plan, token)) continue;
    store<u32>(target, order_of(bits));
    target += 4;
  }
  plan.open = <u32>((target - orders_of(plan)) >> 2);
  return true;
}

/** Finds the order of the token of a rank, eight bits at a time; `spare` has room for all orders. */
function find_cut(plan: Plan, cut: Cut, rank: u32, ties_later: u32, spare: usize): void {
  cut.seen = 0;
  cut.from = 0;
  cut.to = 0;
  cut.order = rank == 0 ? u32.MAX_VALUE : 0;
  if (rank == 0 || rank >= plan.open) return;
  const bins = bins_of(plan);
  let source = orders_of(plan);
  let count = <usize>plan.open;
  let left = rank;
  for (let shift: i32 = 24; shift >= 0; shift -= 8) {
    memory.fill(bins, 0, 4 * BINS);
    for (let i: usize = 0; i < count * 4; i += 4) {
      const bin = bins + 4 * <usize>((load<u32>(source + i) >> shift) & 0xff);
      store<u32>(bin, load<u32>(bin) + 1);
    }
    let bin: u32 = 0xff;
    for (; left > load<u32>(bins + 4 * <usize>bin); bin--) left -= load<u32>(bins + 4 * <usize>bin);
    cut.order |= bin << shift;
    // Only orders that begin as the cut does are looked at again.
    let kept = spare;
    for (let i: usize = 0; i < count * 4; i += 4) {
      const order = load<u32>(source + i);
      store<u32>(kept, order);
      kept += ((order >> shift) & 0xff) == bin ? 4 : 0;
    }
    count = (kept - spare) >> 2;
    source = spare;
  }
  cut.from = ties_later != 0 ? <u32>count - left : 0;
  cut.to = cut.from + left;
}

/** Whether a token is within a rank; called once for each ranked token, ascending. */
// @ts-ignore: decorator
@inline
function is_taken(cut: Cut, order: u32): bool {
  if (order != cut.order) return order > cut.order;
  const seen = cut.seen++;
  return seen >= cut.from && seen < cut.to;
}

/** The first token from `token` on that is recent or may be within a rank, found four at a time. */
function next_chosen(plan: Plan, token: u32, lowest: u32): u32 {
  const orders = orders_of(plan) - 4 * <usize>plan.sink;
  const splat = i32x4.splat(lowest);
  while (token + 4 <= plan.recent_start) {
    if (v128.any_true(i32x4.ge_u(v128.load(orders + 4 * <usize>token), splat))) return token;
    token += 4;
  }
  return token;
}

/** Writes the entries of both kinds of tokens; returns the sinks among the full ones. */
function write_entries(args: PlanBySaliency, plan: Plan, list: usize, full: u32, row: u32): u32 {
  let full_entry = list + 4 * <usize>(args.HEADER_WORDS + args.group_heads);
  let marginal_entry = full_entry + 8 * <usize>full;
  let sinks: u32 = 0;
  const lowest = min(cut_at(plan, 0).order, cut_at(plan, 1).order);
  for (let token: u32 = 0; token < plan.tokens; token++) {
    if (plan.residency == 0 && token >= plan.sink) token = next_chosen(plan, token, lowest);
    if (token >= plan.tokens) break;
    let is_full = true;
    let is_marginal = false;
    if (token >= plan.sink && token < plan.recent_start) {
      if (!is_open(plan, token)) continue;
      const order = order_of(load<u32>(plan.saliency + 4 * <usize>token));
      is_full = is_taken(cut_at(plan, 0), order);
      is_marginal = is_taken(cut_at(plan, 1), order);
    }
    if (is_full) {
      store<u32>(full_entry, token);
      store<u32>(full_entry, row + token % plan.slots, 4);
      full_entry += 8;
      if (token < args.CALIBRATION_SINKS) sinks++;
    } else if (is_marginal) {
      store<u32>(marginal_entry, token);
      store<u32>(marginal_entry, row + token % plan.slots, 4);
      marginal_entry += 8;
    }
  }
  return sinks;
}

function plan_group(args: PlanBySaliency, plan: Plan, sequence: u32, group: u32): void {
  const head_group = <usize>sequence * args.groups + group;
  const list = args.lists + 4 * head_group * args.list_words;
  const heads = 4 * <usize>args.group_heads;
  memory.copy(list + 4 * args.HEADER_WORDS, args.matched + head_group * heads, heads);
  const cached = load<u32>(args.state + 4 * (1 + <usize>sequence));
  const tokens = min(cached + args.tokens_offset, args.capacity);
  const budgets = args.budgets + 16 * head_group;
  plan.tokens = tokens;
  plan.sink = min(load<u32>(budgets), tokens);
  plan.recent_start = max(plan.sink, tokens - min(load<u32>(budgets, 4), tokens));
  plan.saliency = args.saliency + 4 * head_group * args.capacity;
  plan.residency = args.only_kept != 0 ? args.residency + 4 * head_group * args.capacity : 0;
  if (!rank_tokens(plan)) return write_header(list, args.BROKEN_LIST, 0, 0);
  const critical = min(load<u32>(budgets, 8), plan.open);
  const chosen = critical + min(load<u32>(budgets, 12), plan.open - critical);
  const full = plan.sink + tokens - plan.recent_start + critical;
  const room = (args.list_words - args.HEADER_WORDS - args.group_heads) / 2;
  if (full + chosen - critical > room) return write_header(list, args.BROKEN_LIST, 0, 0);
  const spare = orders_of(plan) + 4 * <usize>args.capacity;
  find_cut(plan, cut_at(plan, 0), critical, args.ties_later, spare);
  // Without marginal tokens nothing lies between the cuts.
  find_cut(plan, cut_at(plan, 1), chosen == critical ? 0 : chosen, args.ties_later, spare);
  const kv_head = group % args.groups_per_layer * args.kv_heads / args.groups_per_layer;
  plan.slots = args.capacity;
  if (args.has_slots != 0) {
    plan.slots = load<u32>(args.slots + 4 * <usize>(group / args.groups_per_layer));
  }
  const row = (sequence * args.kv_heads + kv_head) * plan.slots;
  const sinks = write_entries(args, plan, list, full, row);
  write_header(list, full, chosen - critical, sinks);
}

function write_header(list: usize, full: u32, marginal: u32, sinks: u32): void {
  store<u32>(list, full);
  store<u32>(list, marginal, 4);
  store<u32>(list, sinks, 8);
}

export function plan_by_saliency(args: PlanBySaliency, first: u32, last: u32, thread: u32): void {
  const plan = changetype<Plan>(args.thread_scratch + <usize>thread * args.thread_bytes);
  for (let item = first; item < last; item++) {
    const sequence = load<u32>(args.state) + item / args.planned;
    plan_group(args, plan, sequence, args.group_offset + item % args.planned);
  }
}
