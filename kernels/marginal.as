// How exact attention to full tokens and a small model's attention to others become one output; see marginal.ts.

/** Factors of the two parts of an output. */
@unmanaged
export class Factors {
  full: f32;
  value_only: f32;
}

const LEAST_MASS: f32 = 0.000001;
const JOINT: u32 = 0;
const MASS_SPLIT: u32 = 1;
const EQ6_EST: u32 = 3;
const JOINT_NOSINK: u32 = 4;

/**
 * Computes the factors, as marginal.wgsl does.
 *
 * @param mode Index in MARGINAL_MODES.
 * @param full The small model's mass on full tokens.
 * @param value_only Its mass on value-only tokens.
 * @param others Its mass on full tokens other than sinks.
 * @param large_others Share of the large model's attention on these.
 */
export function find_factors(
  factors: Factors,
  mode: u32,
  full: f32,
  value_only: f32,
  others: f32,
  large_others: f32,
): void {
  const total = full + value_only;
  factors.full = 1;
  factors.value_only = 0;
  if (!(total >= LEAST_MASS) || (mode == JOINT_NOSINK && !(others >= LEAST_MASS))) return;
  factors.value_only = 1;
  if (mode == JOINT) {
    factors.full = full / total;
    factors.value_only = 1 / total;
  } else if (mode == MASS_SPLIT) {
    factors.full = 1 - value_only;
  } else if (mode == EQ6_EST) {
    factors.full = full;
  } else if (mode == JOINT_NOSINK) {
    const calibrated = others + large_others * value_only;
    factors.full = others / calibrated;
    factors.value_only = large_others / calibrated;
  }
}
