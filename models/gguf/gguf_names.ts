/**
 * Names of GGUF tensors in the words of Hugging Face.
 *
 * @module
 */

const WHOLE: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

const IN_LAYER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/**
 * Translates the name of a tensor.
 *
 * @param name Name in the file, as `blk.0.attn_q.weight`.
 * @returns Canonical name, as `model.layers.0.self_attn.q_proj.weight`; unknown names stay, with `blk.N` turned into `model.layers.N`.
 */
export function canonicalName(name: string): string {
  const parts = /^(?:blk\.(\d{1,5})\.)?([a-z_0-9]+)\.(.+)$/.exec(name);
  if (parts === null) return name;
  const [, layer, stem, ending] = parts;
  if (layer === undefined) return WHOLE[stem!] === undefined ? name : `${WHOLE[stem!]}.${ending}`;
  return `model.layers.${Number(layer)}.${IN_LAYER[stem!] ?? stem}.${ending}`;
}
