// rerotate_keys: copies the keys of kept tokens, rotated to their positions among kept tokens.
//
// grid    (any number of workgroups, selections of the layer, sequences); threads stride over the pieces
// reads   state      u32: first sequence of the step
//         counted    u32[sequences]: 1 where positions count kept tokens, 0 where keys are copied as they are
//         lists      u32[sequences, groups, list_words], see selection_list.ts
//         rotation   f32[positions, HEAD_DIM]: per position HEAD_DIM / 2 cosines, then as many sines
//         keys       f16x2[head vectors, HEAD_DIM / 2], after rotation by their own position; the bits of
//                    f32[head vectors, HEAD_DIM] if HAS_F32_KEYS is 1
//         center     f32[selections of the layer, HEAD_DIM], subtracted from keys before and after; read if has_center is 1
// writes  rerotated  like keys, in the same rows; rows that no list of the layer names stay unchanged
// twin    rerotate_keys.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override HEAD_DIM: u32 = 64;        // elements; a multiple of 4
override HAS_F32_KEYS: u32 = 0;     // whether keys are stored as f32

const HEADER_WORDS: u32 = 4;  // words of a list before its matched heads

struct Params {
  group_offset: u32,  // first selection of the layer
  groups: u32,        // selections of all layers
  group_heads: u32,   // query heads of a selection
  list_words: u32,
  has_center: u32,
}

@group(0) @binding(0) var<storage, read> state: array<u32>;
@group(0) @binding(1) var<storage, read> counted: array<u32>;
@group(0) @binding(2) var<storage, read> lists: array<u32>;
@group(0) @binding(3) var<storage, read> rotation: array<vec2f>;
@group(0) @binding(4) var<storage, read> keys: array<u32>;
@group(0) @binding(5) var<storage, read> center: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> rerotated: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

// Two elements of a key.
fn pair_of(word: u32) -> vec2f {
  if (HAS_F32_KEYS == 1u) { return vec2f(bitcast<f32>(keys[2u * word]), bitcast<f32>(keys[2u * word + 1u])); }
  return unpack2x16float(keys[word]);
}

fn store(word: u32, value: vec2f) {
  if (HAS_F32_KEYS == 1u) {
    rerotated[2u * word] = bitcast<u32>(value.x);
    rerotated[2u * word + 1u] = bitcast<u32>(value.y);
  } else {
    rerotated[word] = pack2x16float(value);
  }
}

fn copy_pair(word: u32) {
  if (HAS_F32_KEYS == 1u) {
    rerotated[2u * word] = keys[2u * word];
    rerotated[2u * word + 1u] = keys[2u * word + 1u];
  } else {
    rerotated[word] = keys[word];
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn rerotate_keys(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let head_pairs = HEAD_DIM / 2u;
  let head_lanes = HEAD_DIM / 4u;  // pieces of a head: two pairs, half a head apart
  let sequence = state[0] + id.z;
  let list = (sequence * params.groups + params.group_offset + id.y) * params.list_words;
  let first = list + HEADER_WORDS + params.group_heads;
  let room = (params.list_words - HEADER_WORDS - params.group_heads) / 2u;
  let kept = select(lists[list], 0u, lists[list] > room);  // a broken list has none
  let newest = lists[first + 2u * max(kept, 1u) - 2u];
  for (var i = id.x; i < kept * head_lanes; i += groups.x * WORKGROUP_SIZE) {
    let entry = i / head_lanes;
    let pair = i % head_lanes;
    let token = lists[first + 2u * entry];
    let word = lists[first + 2u * entry + 1u] * head_pairs + pair;
    // All kept tokens after this one lie between it and the newest one.
    let steps = newest - token - (kept - 1u - entry);
    if (counted[sequence] == 0u || steps == 0u) {
      copy_pair(word);
      copy_pair(word + head_lanes);
    } else {
      let cosine = rotation[steps * head_pairs + pair];
      let sine = rotation[steps * head_pairs + pair + head_lanes];
      var subtracted = vec4f();
      if (params.has_center == 1u) {
        let place = id.y * head_pairs + pair;
        subtracted = vec4f(center[place], center[place + head_lanes]);
      }
      let x = pair_of(word) + subtracted.xy;
      let y = pair_of(word + head_lanes) + subtracted.zw;
      store(word, x * cosine - y * sine - subtracted.xy);
      store(word + head_lanes, y * cosine + x * sine - subtracted.zw);
    }
  }
}
