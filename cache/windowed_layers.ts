/**
 * Budgets of models in which some layers attend to a window only: such a layer needs no token outside its window, and
 * drops none within it.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { RequirementError } from "../core/check.ts";
import type { CacheBudget, CountRequest, LayerPlace, LayerWindows, TierCounts } from "./budget.ts";
import type { ResolvedPolicy } from "./policy_options.ts";

/**
 * Adapts a policy to the windows of a model. Layers with a window keep the tokens that they see; all others are counted as
 * if there were no such layers, with a budget that depends on the choice `windowed` (D-34).
 *
 * @param policy The policy. One that prunes prompts treats all layers alike, since what a layer drops reaches no later one.
 * @param windows Windows of the layers. Where all layers have one, or none has, the policy stays as it is: there are no
 *   others to spend the budget on.
 * @returns The policy to run on the model.
 */
export function withWindows(policy: ResolvedPolicy, windows: LayerWindows): ResolvedPolicy {
  const isFull = (window: number | undefined) => window === undefined;
  const isMixed = windows.some(isFull) && !windows.every(isFull);
  if (!isMixed || policy.windows || policy.prune || policy.name === "full") return policy;
  return {
    ...policy,
    windows,
    counts(request) {
      const window = windows[request.layer];
      if (window === undefined) {
        return policy.counts(fullLayerPlace({ ...policy, windows }, request));
      }
      return windowCounts(window, request.tokens);
    },
  };
}

function windowCounts(window: number, tokens: number): TierCounts {
  return { sink: 0, recent: Math.min(window, tokens), critical: 0, marginal: 0 };
}

/**
 * Places a layer that sees all tokens among these layers alone.
 *
 * @param policy A policy, adapted to the windows of a model if it has any.
 * @param request The layer's place among all layers, and the budget of the model.
 * @returns The request with layer, layers and budget of the layers that see all tokens.
 */
export function fullLayerPlace<Request extends LayerPlace & Pick<CountRequest, "tokens">>(
  policy: ResolvedPolicy,
  request: Request,
): Request {
  const { windows } = policy;
  if (!windows) return request;
  const isFull = (window: number | undefined) => window === undefined;
  return {
    ...request,
    budget: fullLayerBudget(policy, request),
    layer: windows.slice(0, request.layer).filter(isFull).length,
    layers: windows.filter(isFull).length,
  };
}

/**
 * The budget of a layer that sees all tokens.
 *
 * @param policy A policy, adapted to the windows of a model if it has any.
 * @param place Budget of the model, and lengths.
 * @returns The budget itself where layers with a window are left out of it; otherwise what these leave of it, which is a
 *   share or a number of tokens as the budget is.
 * @throws {RequirementError} If layers with a window leave nothing.
 */
export function fullLayerBudget(
  { name, windows, windowed, base }: Pick<
    ResolvedPolicy,
    "name" | "windows" | "windowed" | "base"
  >,
  { budget, tokens, promptTokens }: Pick<CountRequest, "budget" | "tokens" | "promptTokens">,
): CacheBudget {
  if (!windows || windowed === "apart") return budget;
  const length = base === "prompt" ? promptTokens : tokens;
  const seen = windows.map((window) => Math.min(window ?? length, length));
  const inWindows = seen.reduce((sum, count, layer) => windows[layer] ? sum + count : sum, 0);
  const full = windows.filter((window) => window === undefined).length;
  const all = seen.reduce((sum, count) => sum + count, 0);
  const granted = "tokens" in budget ? budget.tokens * windows.length : budget.ratio * all;
  const left = (granted - inWindows) / full;
  if (!(left >= 1)) {
    throw new RequirementError({
      action: `plan under ${name}`,
      requirement: `with windowed counted, the budget must exceed the ${
        counted(inWindows, "token")
      } of the ${counted(windows.length - full, "layer")} with a window`,
      current: `${counted(Math.floor(granted), "token")} of all layers at a length of ${length}`,
    });
  }
  if ("tokens" in budget) return { tokens: Math.floor(left) };
  return { ratio: Math.min(1, left / length) };
}

/**
 * What a budget is for.
 *
 * @param policy A policy, adapted to the windows of a model if it has any.
 * @param all One entry per layer, or as many for each layer, in the order of the model.
 * @returns The entries of layers that see all tokens, or all of them where windows are counted in.
 */
export function budgeted<T>(
  { windows, windowed }: Pick<ResolvedPolicy, "windows" | "windowed">,
  all: readonly T[],
): readonly T[] {
  if (!windows || windowed === "counted") return all;
  const perLayer = all.length / windows.length;
  return all.filter((_, index) => windows[Math.floor(index / perLayer)] === undefined);
}
