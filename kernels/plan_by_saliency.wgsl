// plan_by_saliency: the tokens of each selection, ranked by saliency without sorting.
//
// Sinks and the newest tokens are always kept. Among the others, a radix select over the bits of their saliency finds
// the least salient critical token and the least salient marginal one; position breaks ties.
//
// grid    (head groups from group_offset on, sequences, 1): one workgroup per selection
// reads   state      u32: first sequence of the step, then the tokens of each sequence before the newest ones
//         saliency   bits of f32[sequences, groups, capacity]
//         budgets    u32[sequences, groups, 4]: sink, recent, critical, marginal tokens
//         matched    u32[sequences, groups * group_heads]: small head of each query head
//         residency  u32[sequences, groups, capacity]: 1 where a token may be chosen; read if only_kept is 1
//         slots      u32[layers]: head vectors of a KV head, where a token is at its position modulo this; read if
//                    has_slots is 1, capacity otherwise
// writes  lists      u32[sequences, groups, list_words], see selection_list.ts; word 3 of each is left as it was
// twin    plan_by_saliency.ts

override WORKGROUP_SIZE: u32 = 64;  // threads; a power of two up to 256
override BROKEN_LIST: u32 = 4294967295u;
override CALIBRATION_SINKS: u32 = 4u;
override HEADER_WORDS: u32 = 4u;

const BINS: u32 = 256u;

struct Params {
  groups: u32,
  group_heads: u32,  // query heads of a head group
  groups_per_layer: u32,
  kv_heads: u32,
  capacity: u32,
  list_words: u32,
  tokens_offset: u32,  // new tokens of the step
  only_kept: u32,
  ties_later: u32,  // 1 if the later of two equal tokens is taken
  group_offset: u32,  // first head group that is planned; a multiple of groups_per_layer
  has_slots: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> saliency: array<u32>;
@group(0) @binding(2) var<storage, read> budgets: array<u32>;
@group(0) @binding(3) var<storage, read> matched: array<u32>;
@group(0) @binding(4) var<storage, read> residency: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> lists: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> bins: array<atomic<u32>, 2 * BINS>;
var<workgroup> sums: array<vec4u, WORKGROUP_SIZE>;
var<workgroup> cuts: array<vec2u, 2>;  // per rank: bits found so far, tokens still to take among those that have them
var<workgroup> has_nan: atomic<u32>;
var<workgroup> kept_sinks: atomic<u32>;

// Maps the bits of a float to an integer of the same order; minus zero counts as zero.
fn order_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// Adds up the values of the lanes before this one.
fn sums_before(lane: u32, value: vec4u) -> vec4u {
  sums[lane] = value;
  workgroupBarrier();
  for (var reach = 1u; reach < WORKGROUP_SIZE; reach *= 2u) {
    var other = vec4u();
    if (lane >= reach) { other = sums[lane - reach]; }
    workgroupBarrier();
    sums[lane] += other;
    workgroupBarrier();
  }
  return sums[lane] - value;
}

// How many of the first `before` tokens of a tie are taken: `taken` in all, from the end that ties prefer.
fn taken_before(before: vec2u, ties: vec2u, taken: vec2u) -> vec2u {
  let limit = min(taken, ties);
  if (params.ties_later == 0u) { return min(before, limit); }
  return before - min(before, ties - limit);
}

// Whether a token may be chosen for its saliency.
fn is_open(place: u32) -> bool {
  return params.only_kept == 0u || residency[place] == 1u;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn plan_by_saliency(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let sequence = state[0] + group.y;
  let head_group = sequence * params.groups + params.group_offset + group.x;
  let tokens = min(state[1u + sequence] + params.tokens_offset, params.capacity);
  let first = head_group * params.capacity;
  let sink = min(budgets[4u * head_group], tokens);
  let recent_start = max(sink, tokens - min(budgets[4u * head_group + 1u], tokens));
  let critical = min(budgets[4u * head_group + 2u], tokens);
  let ranks = vec2u(critical, critical + min(budgets[4u * head_group + 3u], tokens));

  // 1. The saliency of the last critical and of the last marginal token, eight bits at a time.
  if (lane < 2u) { cuts[lane] = vec2u(0u, ranks[lane]); }
  if (lane == 0u) {
    atomicStore(&has_nan, 0u);
    atomicStore(&kept_sinks, 0u);
  }
  for (var shift = 24u; shift < 32u; shift -= 8u) {
    for (var bin = lane; bin < 2u * BINS; bin += WORKGROUP_SIZE) { atomicStore(&bins[bin], 0u); }
    workgroupBarrier();
    let prefixes = vec2u(cuts[0].x, cuts[1].x);
    let known = select(0xffffffffu << (shift + 8u), 0u, shift == 24u);
    for (var token = lane; token < tokens; token += WORKGROUP_SIZE) {
      let bits = saliency[first + token];
      if (shift == 24u && (bits & 0x7fffffffu) > 0x7f800000u) { atomicStore(&has_nan, 1u); }
      if (token < sink || token >= recent_start) { continue; }
      if (!is_open(first + token)) { continue; }
      let order = order_of(bits);
      let bin = (order >> shift) & 0xffu;
      if ((order & known) == prefixes.x) { atomicAdd(&bins[bin], 1u); }
      if (prefixes.x != prefixes.y && (order & known) == prefixes.y) {
        atomicAdd(&bins[BINS + bin], 1u);
      }
    }
    workgroupBarrier();
    let start = select(0u, BINS, lane == 1u && prefixes.x != prefixes.y);
    if (lane < 2u) {
      var left = cuts[lane].y;
      var bin = BINS - 1u;
      while (bin > 0u) {
        let count = atomicLoad(&bins[start + bin]);
        if (left <= count) { break; }
        left -= count;
        bin -= 1u;
      }
      cuts[lane] = vec2u(cuts[lane].x | (bin << shift), left);
    }
    workgroupBarrier();
  }

  // 2. In each lane's stretch of tokens: those above either cut, and those equal to it.
  let stretch = (tokens + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
  let begin = min(lane * stretch, tokens);
  let end = min(begin + stretch, tokens);
  let cut = vec2u(cuts[0].x, cuts[1].x);
  let taken = vec2u(cuts[0].y, cuts[1].y);
  var counts = vec4u();
  for (var token = max(begin, sink); token < min(end, recent_start); token++) {
    if (!is_open(first + token)) { continue; }
    let order = vec2u(order_of(saliency[first + token]));
    counts += vec4u(vec2u(order > cut), vec2u(order == cut));
  }
  let before = sums_before(lane, counts);
  let total = sums[WORKGROUP_SIZE - 1u];
  let chosen = total.xy + min(taken, total.zw);  // critical ones, then with marginal ones
  let fixed = sink + tokens - recent_start;

  // 3. The lists, in the same order.
  let list = head_group * params.list_words;
  let entries = list + HEADER_WORDS + params.group_heads;
  let room = (params.list_words - HEADER_WORDS - params.group_heads) / 2u;
  let is_broken = atomicLoad(&has_nan) == 1u || fixed + chosen.y > room;
  let kv_head = (group.x % params.groups_per_layer) * params.kv_heads / params.groups_per_layer;
  var own_slots = params.capacity;
  if (params.has_slots == 1u) {
    own_slots = slots[(params.group_offset + group.x) / params.groups_per_layer];
  }
  let first_row = (sequence * params.kv_heads + kv_head) * own_slots;
  var seen = before.zw;
  let chosen_before = before.xy + taken_before(seen, total.zw, taken);
  let fixed_before = min(begin, sink) + begin - min(begin, recent_start);
  var kept_entry = entries + 2u * (fixed_before + chosen_before.x);
  var marginal_entry = entries + 2u * (fixed + chosen.x + chosen_before.y - chosen_before.x);
  for (var token = begin; token < select(end, begin, is_broken); token++) {
    var is_chosen = vec2<bool>(true);
    if (token >= sink && token < recent_start) {
      if (!is_open(first + token)) { continue; }
      let order = vec2u(order_of(saliency[first + token]));
      let is_tie = vec2u(order == cut);
      let own = taken_before(seen + is_tie, total.zw, taken) - taken_before(seen, total.zw, taken);
      is_chosen = (order > cut) | (own == vec2u(1u));
      seen += is_tie;
    }
    if (is_chosen.x) {
      lists[kept_entry] = token;
      lists[kept_entry + 1u] = first_row + token % own_slots;
      kept_entry += 2u;
      if (token < CALIBRATION_SINKS) { atomicAdd(&kept_sinks, 1u); }
    } else if (is_chosen.y) {
      lists[marginal_entry] = token;
      lists[marginal_entry + 1u] = first_row + token % own_slots;
      marginal_entry += 2u;
    }
  }
  workgroupBarrier();
  for (var member = lane; member < params.group_heads; member += WORKGROUP_SIZE) {
    lists[list + HEADER_WORDS + member] = matched[head_group * params.group_heads + member];
  }
  if (lane == 0u) {
    lists[list] = select(fixed + chosen.x, BROKEN_LIST, is_broken);
    lists[list + 1u] = select(chosen.y - chosen.x, 0u, is_broken);
    lists[list + 2u] = atomicLoad(&kept_sinks);
  }
}
