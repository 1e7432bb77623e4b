// Shared by the kernels of selected attention: how the two parts of an output join. Twin: marginal.ts.

const LEAST_MASS: f32 = 0.000001;  // mass of the small model below which it is ignored
const JOINT: u32 = 0;              // ways to join, as in MARGINAL_MODES
const MASS_SPLIT: u32 = 1;
const EQ6_EST: u32 = 3;
const JOINT_NOSINK: u32 = 4;

// Factors of the full part and of the value-only part, from masses summed over the whole list: the small model's on
// full tokens, on value-only tokens and on full tokens other than sinks; and the large model's on the last of these.
fn marginal_factors(mode: u32, masses: vec3f, large_others: f32) -> vec2f {
  let total = masses.x + masses.y;
  let calibrated = masses.z + large_others * masses.y;
  var factors = vec2f(1.0, 1.0);
  if (mode == JOINT) {
    factors = vec2f(masses.x / total, 1.0 / total);
  } else if (mode == MASS_SPLIT) {
    factors.x = 1.0 - masses.y;
  } else if (mode == EQ6_EST) {
    factors.x = masses.x;
  } else if (mode == JOINT_NOSINK) {
    factors = vec2f(masses.z, large_others) / calibrated;
  }
  let is_told = total >= LEAST_MASS && (mode != JOINT_NOSINK || masses.z >= LEAST_MASS);
  return select(vec2f(1.0, 0.0), factors, is_told);
}
