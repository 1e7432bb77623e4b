/**
 * Attention of a prompt as a file for other programs.
 *
 * @module
 */

import { safetensorsBytes, type TensorContent } from "../../core/safetensors_bytes.ts";
import { traceAttention } from "../../decoding/session/trace.ts";
import type { Model } from "../../models/load.ts";
import { tokenTexts } from "../../models/tokenizer/token_texts.ts";
import type { HeadPlace } from "../../analysis/attention_map.ts";

/**
 * Writes the file that `deno task extract --accumulated --attention LAYER:HEAD` writes.
 *
 * @param model The model.
 * @param tokens Token ids.
 * @param options A head whose map is included, and a signal that ends the work.
 * @returns Token ids, attention summed over queries, and the map, with the texts of the tokens in the metadata.
 */
export async function extractAttention(
  model: Model,
  tokens: readonly number[],
  { head, signal }: { readonly head?: HeadPlace; readonly signal?: AbortSignal } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { layers, queryHeads } = model.config;
  const { accumulated, maps } = await traceAttention(model, tokens, {
    heads: head ? [[head.layer, head.head]] : [],
    accumulated: true,
    ...(signal && { signal }),
  });
  const count = tokens.length;
  const tensors: TensorContent[] = [
    { name: "tokens", shape: [count], type: "I32", values: Int32Array.from(tokens) },
    { name: "accumulated", shape: [layers, queryHeads, count], values: accumulated },
    ...maps.map(({ layer, head, values }) => ({
      name: `attention.${layer}.${head}`,
      shape: [count, count],
      values,
    })),
  ];
  return safetensorsBytes(tensors, {
    model: model.name,
    hash: model.hash,
    device: model.device.info.description,
    texts: JSON.stringify(tokenTexts(model.tokenizer!, tokens)),
  });
}
