/**
 * The attention map of a head.
 *
 * @module
 */

import { traceAttention } from "../../decoding/session/trace.ts";
import type { Model } from "../../models/load.ts";
import type { MapView } from "../../views/attention_map.tsx";
import type { HeadPlace } from "../../analysis/attention_map.ts";
import { MAX_MAP_TOKENS } from "../messages.ts";

/**
 * Computes the attention map of a head on the first tokens of a prompt.
 *
 * @param model The model.
 * @param prompt Token ids.
 * @param head Which head.
 * @returns The map of at most `MAX_MAP_TOKENS` tokens.
 */
export async function headMap(
  model: Model,
  prompt: readonly number[],
  head: HeadPlace,
): Promise<MapView> {
  const tokens = prompt.slice(0, MAX_MAP_TOKENS);
  const { maps: [map] } = await traceAttention(model, tokens, {
    heads: [[head.layer, head.head]],
    accumulated: false,
  });
  return { head, tokens: tokens.length, values: map!.values };
}
