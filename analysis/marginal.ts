/**
 * Exact attention to kept tokens joined with a small model's attention to marginal ones, on plain arrays.
 *
 * @module
 */

export {
  combineMarginal,
  LEAST_MASS,
  MARGINAL_MODES,
  type MarginalFactors,
  marginalFactors,
  type MarginalMasses,
  type MarginalMode,
  type MarginalParts,
} from "../kernels/marginal.ts";
