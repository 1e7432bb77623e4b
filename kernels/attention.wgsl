// Shared by the attention kernels: which keys a row sees, what their scores are, and how keys and values are stored.
// Window, softcap and sinks are constants of a variant: a variant without them has no code for them.

const WINDOW: u32 = 0;     // newest keys that a row sees, including its own; all if 0
const RING: u32 = 0;       // head vectors of a KV head, where a key is at its position modulo this; as many as positions if 0
const SOFTCAP: f32 = 0.0;  // scores lie between -SOFTCAP and SOFTCAP; unbounded if 0
//# if CODED_KEYS
const KEY_WORDS: u32 = 10;        // of a stored key: codes, then the step and the least number of each group
const KEY_CODE_WORDS: u32 = 8;    // of its codes
//# end
//# if CODED_VALUES
const VALUE_WORDS: u32 = 10;      // the same of a stored value
const VALUE_CODE_WORDS: u32 = 8;
//# end
const LOG2_E = 1.4426950408889634;
const LOWEST = -3.4e38;

// Whether a row sees a key by position.
fn sees(position: u32, key: u32) -> bool {
//# if WINDOW
  return key <= position && position - key < WINDOW;
//# else
  return key <= position;
//# end
}

// Where a key is among those of its KV head.
fn slot_of(key: u32) -> u32 {
//# if RING
  return key % RING;
//# else
  return key;
//# end
}

// Head vectors that a KV head has room for.
fn head_slots() -> u32 {
//# if RING
  return RING;
//# else
  return params.capacity;
//# end
}

// First key that a row sees.
fn first_seen(position: u32) -> u32 {
//# if WINDOW
  return max(position + 1u, WINDOW) - WINDOW;
//# else
  return 0u;
//# end
}

// Factor on queries or keys before they are multiplied.
fn score_factor() -> f32 {
//# if SOFTCAP
  return params.scale / SOFTCAP;
//# else
  return params.scale * LOG2_E;
//# end
}

// Score in base 2 of a product that includes the factor, given as four partial sums.
fn score_of(product: vec4f) -> f32 {
  let sum = (product.x + product.y) + (product.z + product.w);
//# if SOFTCAP
  let tangent = 1.0 - 2.0 / (exp2(2.0 * LOG2_E * sum) + 1.0);  // tanh, safe for large sums
  return SOFTCAP * LOG2_E * tangent;
//# else
  return sum;
//# end
}
//# if ATTENDS

// Largest score and sum of exponentials before any key: those of the head's sink, which belongs to the first split.
fn softmax_start(head: u32, is_first: bool) -> vec2f {
//# if SINKS
  return select(vec2f(LOWEST, 0.0), vec2f(sinks[head] * LOG2_E, 1.0), is_first);
//# else
  return vec2f(LOWEST, 0.0);
//# end
}
//# end
//# if MASKS

// 32 bits of a head's mask, all ones if nothing is masked.
fn visible_bits(head: u32, word: u32) -> u32 {
  var bits = 0xffffffffu;
  if (params.is_masked == 1u) {
    bits = visible[head * params.visible_words + min(word, params.visible_words - 1u)];
  }
  return bits;
}
//# end

fn unpack_halves(packed: vec4u) -> mat2x4f {
  return mat2x4f(
    vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y)),
    vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w)),
  );
}
//# if CODED

// Four codes of 4 bits, from the low halves of the bytes on or from the high ones.
fn four_bits(word: u32, shift: u32) -> vec4f {
  return vec4f((vec4u(word >> shift) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u));
}

// Four codes of 8 bits.
fn eight_bits(word: u32) -> vec4f {
  return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u));
}
//# end

// Eight elements of a stored key.
fn key_piece(piece: u32) -> mat2x4f {
//# if CODED_KEYS
  let row = piece / PIECES * KEY_WORDS;
  let at = piece % PIECES;
  let group = unpack2x16float(keys[row + KEY_CODE_WORDS + at / 4u]);  // step, least number
//# if FOUR_BIT_KEYS
  let codes = mat2x4f(four_bits(keys[row + at], 0u), four_bits(keys[row + at], 4u));
//# else
  let codes = mat2x4f(eight_bits(keys[row + 2u * at]), eight_bits(keys[row + 2u * at + 1u]));
//# end
  return mat2x4f(codes[0] * group.x + group.y, codes[1] * group.x + group.y);
//# else
//# if F32_KEYS
  return mat2x4f(bitcast<vec4f>(keys[2u * piece]), bitcast<vec4f>(keys[2u * piece + 1u]));
//# else
  return unpack_halves(keys[piece]);
//# end
//# end
}
//# if ATTENDS
//# if SHARED

// Four elements of a stored value.
fn value_quad(index: u32) -> vec4f {
//# if CODED_VALUES
  let row = index / VEC4S * VALUE_WORDS;
  let at = index % VEC4S;
  let group = unpack2x16float(values[row + VALUE_CODE_WORDS + at / 8u]);
//# if FOUR_BIT_VALUES
  let codes = four_bits(values[row + at / 2u], 4u * (at % 2u));
//# else
  let codes = eight_bits(values[row + at]);
//# end
  return codes * group.x + group.y;
//# else
//# if F32_VALUES
  return bitcast<vec4f>(values[index]);
//# else
  let packed = values[index];
  return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
//# end
//# end
}
//# else

// Eight elements of a stored value.
fn value_piece(piece: u32) -> mat2x4f {
//# if CODED_VALUES
  let row = piece / PIECES * VALUE_WORDS;
  let at = piece % PIECES;
  let group = unpack2x16float(values[row + VALUE_CODE_WORDS + at / 4u]);
//# if FOUR_BIT_VALUES
  let codes = mat2x4f(four_bits(values[row + at], 0u), four_bits(values[row + at], 4u));
//# else
  let codes = mat2x4f(eight_bits(values[row + 2u * at]), eight_bits(values[row + 2u * at + 1u]));
//# end
  return mat2x4f(codes[0] * group.x + group.y, codes[1] * group.x + group.y);
//# else
//# if F32_VALUES
  return mat2x4f(bitcast<vec4f>(values[2u * piece]), bitcast<vec4f>(values[2u * piece + 1u]));
//# else
  return unpack_halves(values[piece]);
//# end
//# end
}
//# end
//# end
