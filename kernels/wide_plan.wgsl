// wide_plan: the tokens of each selection, ranked by saliency without sorting, for GPUs.
//
// Sinks and the newest tokens are always kept. Among the others, a radix select over the bits of their saliency finds
// the least salient critical token and the least salient marginal one; position breaks ties. The same as
// plan_by_saliency.wgsl, but lanes side by side read tokens side by side, several at a time, and all of them take part in
// finding the bin of a rank and in numbering the tokens that are taken.
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
// twin    wide_plan.ts

override WORKGROUP_SIZE: u32 = 256;  // threads; a power of two up to 256
override COPIES: u32 = 4;  // of the counts, so that fewer lanes add to the same one; a power of two
override BROKEN_LIST: u32 = 4294967295u;
override CALIBRATION_SINKS: u32 = 4u;
override HEADER_WORDS: u32 = 4u;

const BINS: u32 = 256u;
const TOKENS: u32 = 4u;  // of a lane at a time, so that as many loads are under way

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

// Workgroup memory starts as zeros.
var<workgroup> bins: array<atomic<u32>, 2 * BINS * COPIES>;
var<workgroup> sums: array<vec2u, 2 * WORKGROUP_SIZE>;
// Per rank: bits found so far, tokens still to take among those that have them, how many have them.
var<workgroup> cuts: array<vec3u, 2>;
var<workgroup> has_nan: atomic<u32>;
var<workgroup> kept_sinks: atomic<u32>;

// Maps the bits of floats to integers of the same order; minus zero counts as zero.
fn orders_of(bits: vec4u) -> vec4u {
  let order = select(bits | vec4u(0x80000000u), ~bits, bits >= vec4u(0x80000000u));
  return select(order, vec4u(0x80000000u), bits == vec4u(0x80000000u));
}

// Adds up the values of the lanes before this one, and of all lanes.
fn sums_of(lane: u32, value: vec2u) -> vec4u {
  workgroupBarrier();
  sums[lane] = value;
  workgroupBarrier();
  var half = 0u;
  for (var reach = 1u; reach < WORKGROUP_SIZE; reach *= 2u) {
    var sum = sums[half + lane];
    if (lane >= reach) { sum += sums[half + lane - reach]; }
    half = WORKGROUP_SIZE - half;
    sums[half + lane] = sum;
    workgroupBarrier();
  }
  return vec4u(sums[half + lane] - value, sums[half + WORKGROUP_SIZE - 1u]);
}

// How many tokens were counted in a bin.
fn bin_count(bin: u32) -> u32 {
  var count = 0u;
  for (var copy = 0u; copy < COPIES; copy++) { count += atomicLoad(&bins[bin * COPIES + copy]); }
  return count;
}

// Empties bins.
fn clear_bins(bin: u32, count: u32) {
  for (var i = bin * COPIES; i < (bin + count) * COPIES; i++) { atomicStore(&bins[i], 0u); }
}

// How many of the first `before` tokens of a tie are taken: `taken` in all, from the end that ties prefer.
fn taken_before(before: vec2u, ties: vec2u, taken: vec2u) -> vec2u {
  let limit = min(taken, ties);
  if (params.ties_later == 0u) { return min(before, limit); }
  return before - min(before, ties - limit);
}

// Bits of the saliency at four places.
fn saliency_at(place: vec4u) -> vec4u {
  return vec4u(
    saliency[place.x], saliency[place.y], saliency[place.z], saliency[place.w],
  );
}

// Whether tokens may be chosen for their saliency.
fn are_open(place: vec4u) -> vec4<bool> {
  if (params.only_kept == 0u) { return vec4<bool>(true); }
  return vec4u(
    residency[place.x], residency[place.y], residency[place.z], residency[place.w],
  ) == vec4u(1u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn wide_plan(
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
  let tile_tokens = WORKGROUP_SIZE * TOKENS;

  // 1. The saliency of the last critical and of the last marginal token, eight bits at a time.
  if (lane < 2u) { cuts[lane] = vec3u(0u, ranks[lane], 0u); }
  workgroupBarrier();
  for (var shift = 24u; shift < 32u; shift -= 8u) {
    let prefixes = vec2u(cuts[0].x, cuts[1].x);
    let left = vec2u(cuts[0].y, cuts[1].y);
    let is_shared = prefixes.x == prefixes.y;  // the bins of both ranks
    let known = select(0xffffffffu << (shift + 8u), 0u, shift == 24u);
    for (var tile = lane; tile < tokens; tile += tile_tokens) {
      let token = tile + WORKGROUP_SIZE * vec4u(0u, 1u, 2u, 3u);
      let place = first + min(token, vec4u(tokens - 1u));
      let bits = saliency_at(place);
      let is_nan = (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
      if (shift == 24u && any(is_nan)) { atomicStore(&has_nan, 1u); }
      let is_ranked = (token >= vec4u(sink)) & (token < vec4u(recent_start)) & are_open(place);
      let order = orders_of(bits);
      let bin = ((order >> vec4u(shift)) & vec4u(0xffu)) * COPIES + lane % COPIES;
      let is_first = is_ranked & ((order & vec4u(known)) == vec4u(prefixes.x));
      let is_second = is_ranked & ((order & vec4u(known)) == vec4u(prefixes.y));
      for (var i = 0u; i < TOKENS; i++) {
        if (is_first[i]) { atomicAdd(&bins[bin[i]], 1u); }
        if (is_second[i] && !is_shared) { atomicAdd(&bins[BINS * COPIES + bin[i]], 1u); }
      }
    }
    workgroupBarrier();
    // Each lane has a few bins, the first one those of the most salient tokens.
    let lane_bins = BINS / WORKGROUP_SIZE;
    let last_bin = BINS - lane_bins * (lane + 1u);
    let start = vec2u(0u, select(BINS, 0u, is_shared));
    var counts = vec2u();
    for (var bin = last_bin; bin < last_bin + lane_bins; bin++) {
      counts.x += bin_count(bin);
      if (!is_shared) { counts.y += bin_count(BINS + bin); }
    }
    if (is_shared) { counts.y = counts.x; }
    let counted = sums_of(lane, counts).xy;
    for (var rank = 0u; rank < 2u; rank++) {
      let is_reached = lane == 0u || left[rank] > counted[rank];
      let is_here = left[rank] <= counted[rank] + counts[rank] || last_bin == 0u;
      if (is_reached && is_here) {
        var bin = last_bin + lane_bins - 1u;
        var rest = left[rank] - counted[rank];
        var count = bin_count(start[rank] + bin);
        while (bin > last_bin && rest > count) {
          rest -= count;
          bin -= 1u;
          count = bin_count(start[rank] + bin);
        }
        cuts[rank] = vec3u(prefixes[rank] | (bin << shift), rest, count);
      }
    }
    if (counts.x > 0u) { clear_bins(last_bin, lane_bins); }
    if (counts.y > 0u && !is_shared) { clear_bins(BINS + last_bin, lane_bins); }
    workgroupBarrier();
  }

  // 2. How many tokens are kept and marginal.
  let cut = vec2u(cuts[0].x, cuts[1].x);
  let taken = vec2u(cuts[0].y, cuts[1].y);
  let ties = vec2u(cuts[0].z, cuts[1].z);
  let chosen = ranks - taken + min(taken, ties);  // critical ones, then with marginal ones
  let fixed = sink + tokens - recent_start;
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

  // 3. The lists, in the order of tokens, of which each lane has some that follow each other.
  var passed = vec4u();  // in the tiles before: tokens above either cut, and those equal to it
  for (var tile = 0u; tile < tokens; tile += tile_tokens) {
    let begin = tile + TOKENS * lane;
    let token = begin + vec4u(0u, 1u, 2u, 3u);
    let place = first + min(token, vec4u(tokens - 1u));
    let is_fixed = (token < vec4u(sink)) | (token >= vec4u(recent_start));
    let is_ranked = !is_fixed & are_open(place);
    let order = orders_of(saliency_at(place));
    var counts = vec4u();
    for (var i = 0u; i < TOKENS; i++) {
      let is_above = vec2u(vec2u(order[i]) > cut);
      let is_tie = vec2u(vec2u(order[i]) == cut);
      counts += select(vec4u(), vec4u(is_above, is_tie), is_ranked[i]);
    }
    let tile_sums = sums_of(lane, counts.xy | (counts.zw << vec2u(16u)));
    let before = passed + vec4u(tile_sums.xy & vec2u(0xffffu), tile_sums.xy >> vec2u(16u));
    passed += vec4u(tile_sums.zw & vec2u(0xffffu), tile_sums.zw >> vec2u(16u));
    var seen = before.zw;
    let chosen_before = before.xy + taken_before(seen, ties, taken);
    let fixed_before = min(begin, sink) + max(begin, recent_start) - recent_start;
    var kept_entry = entries + 2u * (fixed_before + chosen_before.x);
    var marginal_entry = entries + 2u * (fixed + chosen.x + chosen_before.y - chosen_before.x);
    for (var i = 0u; i < TOKENS; i++) {
      if (is_broken || token[i] >= tokens || !(is_fixed[i] || is_ranked[i])) { continue; }
      var is_chosen = vec2<bool>(true);
      if (is_ranked[i]) {
        let is_tie = vec2u(vec2u(order[i]) == cut);
        let own = taken_before(seen + is_tie, ties, taken) - taken_before(seen, ties, taken);
        is_chosen = (vec2u(order[i]) > cut) | (own == vec2u(1u));
        seen += is_tie;
      }
      if (is_chosen.x) {
        lists[kept_entry] = token[i];
        lists[kept_entry + 1u] = first_row + token[i] % own_slots;
        kept_entry += 2u;
        if (token[i] < CALIBRATION_SINKS) { atomicAdd(&kept_sinks, 1u); }
      } else if (is_chosen.y) {
        lists[marginal_entry] = token[i];
        lists[marginal_entry + 1u] = first_row + token[i] % own_slots;
        marginal_entry += 2u;
      }
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
