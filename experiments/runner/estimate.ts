/**
 * How much work a unit is, for the time left.
 *
 * @module
 */

import type { ExperimentContext, ModelRole, ModelShape, Unit } from "../experiment.ts";

/**
 * Estimates the work of a unit.
 *
 * @param unit The unit.
 * @param context The models it runs on.
 * @returns Multiplications of all matrices, in millions, at least 1.
 */
export function unitCost(unit: Unit, context: ExperimentContext): number {
  let cost = 1;
  for (const role of ["large", "small", "other"] satisfies ModelRole[]) {
    const model = context[role];
    if (model !== undefined) cost += (unit.work[role] ?? 0) * tokenCost(model) / 1e6;
  }
  return cost;
}

function tokenCost(model: ModelShape): number {
  const { layers, hidden, mlp, headDim, queryHeads, kvHeads } = model;
  return layers * hidden * (headDim * 2 * (queryHeads + kvHeads) + 3 * mlp);
}
