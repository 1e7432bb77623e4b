/**
 * Attention of a text as a file that Python reads: `deno run -A examples/export_attention.ts OUT.safetensors [MODEL]`
 *
 *     from safetensors.numpy import load_file
 *     maps = load_file("OUT.safetensors")["attention.0.3"]  # layer 0, head 3: [queries, keys]
 *
 * @module
 */

import {
  createSafetensors,
  embeddedPair,
  evaluationItems,
  loadModel,
  traceAttention,
} from "@smallkv/lab";

/**
 * Writes the attention of every head for a text, and the total that each token receives.
 *
 * @param model File or folder of a model, or `hf:ORG/NAME`.
 * @param text The text.
 * @param path File to write.
 */
export async function exportAttention(model: string, text: string, path: string): Promise<void> {
  using loaded = await loadModel(model);
  const tokens = loaded.tokenizer!.encode(text);
  const { maps, accumulated, layers, queryHeads } = await traceAttention(loaded, tokens, {
    heads: "all",
  });
  const named = maps.map(({ layer, head, queries, keys, values }) => ({
    name: `attention.${layer}.${head}`,
    shape: [queries, keys],
    values,
  }));
  const sums = {
    name: "received",
    shape: [layers, queryHeads, tokens.length],
    values: accumulated,
  };
  const tensors = [...named, sums];
  await using file = await createSafetensors(path, tensors, {
    metadata: { model: loaded.name, tokens: JSON.stringify(tokens) },
  });
  for (const { name, values } of tensors) await file.append(name, values);
  await file.commit();
}

if (import.meta.main) {
  const [path = "attention.safetensors", model = embeddedPair().large] = Deno.args;
  await exportAttention(model, evaluationItems("route", { count: 1 })[0]!.prompt, path);
  console.log(`Wrote ${path}`);
}
