// Shared by attention on GPUs, where a workgroup keeps its query rows in its memory and its lanes change roles: to
// multiply, a lane has a key and eight rows; for the softmax, a row is spread over the lanes; to sum values up, a lane
// has four elements of eight rows. No lane needs to know which others are in its subgroup.

const LANES: u32 = 128;
const PART_ROWS: u32 = 8;    // query rows of a lane
const ROWS: u32 = 8;         // query rows of a workgroup, a multiple of PART_ROWS
const TILE_KEYS: u32 = 128;  // keys multiplied together: LANES * PART_ROWS / ROWS
const VEC4S: u32 = 16;       // of a head
const PIECES: u32 = 8;       // of eight elements of a head

var<workgroup> query_tile: array<vec4f, ROWS * VEC4S>;  // rows of a vec4 side by side

// Products of a key, from its first piece on, with eight rows.
fn multiply_rows(first_piece: u32, first_row: u32) -> array<f32, PART_ROWS> {
  var product = array<f32, PART_ROWS>();
  for (var i = 0u; i < PIECES; i++) {
    let k = key_piece(first_piece + i);
    let q = 2u * i * ROWS + first_row;
    for (var r = 0u; r < PART_ROWS; r++) {  // unroll
      product[r] += dot(query_tile[q + r], k[0]) + dot(query_tile[q + ROWS + r], k[1]);
    }
  }
  return product;
}
//# if ATTENDS

const SLICES: u32 = 16;      // lanes of a row in the softmax: LANES / ROWS
const ROW_PARTS: u32 = 1;    // of PART_ROWS rows
const KEY_PARTS: u32 = 8;    // of the keys of a tile, whose values different lanes sum up
const KEY_STEPS: u32 = 4;    // values that a lane loads before it uses them

var<workgroup> score_tile: array<vec4f, TILE_KEYS * ROWS / 4>;  // keys of four rows side by side
var<workgroup> lane_tile: array<f32, LANES>;
var<workgroup> row_tile: array<vec4f, ROWS>;

// Where the scores of four rows and a key are.
fn score_place(row: u32, key: u32) -> u32 {
  return row / 4u * TILE_KEYS + key;
}

// Keeps the products of a key with the rows of a lane.
fn keep_scores(first_row: u32, key: u32, product: array<f32, PART_ROWS>) {
  score_tile[score_place(first_row, key)] =
    vec4f(product[0], product[1], product[2], product[3]);
  score_tile[score_place(first_row + 4u, key)] =
    vec4f(product[4], product[5], product[6], product[7]);
}

// Largest value of the lanes of a row.
fn row_max(lane: u32, value: f32) -> f32 {
  lane_tile[lane] = value;
  workgroupBarrier();
  var result = value;
  for (var slice = 0u; slice < SLICES; slice++) {
    result = max(result, lane_tile[slice * ROWS + lane % ROWS]);
  }
  workgroupBarrier();
  return result;
}

// Sum of the values of the lanes of a row.
fn row_sum(lane: u32, value: f32) -> f32 {
  lane_tile[lane] = value;
  workgroupBarrier();
  var result = 0.0;
  for (var slice = 0u; slice < SLICES; slice++) {
    result += lane_tile[slice * ROWS + lane % ROWS];
  }
  workgroupBarrier();
  return result;
}

// The same of four values, in the same order. The scores are overwritten.
fn row_sums(lane: u32, values: vec4f) -> vec4f {
  score_tile[lane] = values;
  workgroupBarrier();
  var result = vec4f();
  for (var slice = 0u; slice < SLICES; slice++) {
    result += score_tile[slice * ROWS + lane % ROWS];
  }
  workgroupBarrier();
  return result;
}

// Sum of what the lanes of all key parts have; whole in those of the first part. The scores are overwritten.
fn part_sum(lane: u32, value: vec4f) -> vec4f {
  score_tile[lane] = value;
  workgroupBarrier();
  var result = value;
  if (lane < VEC4S * ROW_PARTS) {
    for (var part = 1u; part < KEY_PARTS; part++) {
      result += score_tile[part * VEC4S * ROW_PARTS + lane];
    }
  }
  workgroupBarrier();
  return result;
}
//# end
