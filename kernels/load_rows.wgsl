// load_rows: puts uploaded head vectors into the slots of one layer's keys and values.
//
// grid    any number of workgroups along x; threads stride over the words
// reads   upload  u32: per layer first record, records of keys, records of values (3 words each);
//                 then records of 1 + ROW_WORDS words: target row, the head vector
// writes  keys    f16x2[rows, ROW_WORDS]
//         values  f16x2[rows, ROW_WORDS]; a layer's records of values follow its records of keys
// twin    load_rows.ts

override WORKGROUP_SIZE: u32 = 64;  // threads
override ROW_WORDS: u32 = 32;       // words of a head vector, two elements each

struct Params {
  layer: u32,   // whose records are taken
  layers: u32,  // entries before the records
}

@group(0) @binding(0) var<storage, read> upload: array<u32>;
@group(0) @binding(1) var<storage, read_write> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn load_rows(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let entry = 3u * params.layer;
  let first = upload[entry];
  let key_rows = upload[entry + 1u];
  let words = (key_rows + upload[entry + 2u]) * ROW_WORDS;
  for (var i = id.x; i < words; i += groups.x * WORKGROUP_SIZE) {
    let row = i / ROW_WORDS;
    let word = i % ROW_WORDS;
    let record = 3u * params.layers + (first + row) * (1u + ROW_WORDS);
    let target_word = upload[record] * ROW_WORDS + word;
    let moved = upload[record + 1u + word];
    if (row < key_rows) {
      keys[target_word] = moved;
    } else {
      values[target_word] = moved;
    }
  }
}
