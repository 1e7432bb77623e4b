/**
 * Files that differ from what this toolkit writes but are valid: the model must answer as without the difference.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { traceAttention } from "../../decoding/session/trace.ts";
import { openDevice } from "../../gpu/open_device.ts";
import type { ModelConfig } from "../../models/config.ts";
import { loadModel } from "../../models/load.ts";
import {
  configJson,
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenGguf,
  type WrittenTensor,
} from "../support/model_writer.ts";

type Files = Readonly<Record<string, Uint8Array | string | object>>;

const TIED: ModelConfig = { ...TINY, isTied: true };
const weights = tinyWeights(TIED);
const config = configJson(TIED);
const configText = JSON.stringify(config);

function extra(name: string, type: string, shape: number[], bytes: number): WrittenTensor {
  return { name, type, shape, bytes: new Uint8Array(bytes).fill(1) };
}

/** Tensors that no forward pass reads, some under names of weights. */
const unused: readonly WrittenTensor[] = [
  extra("model.embed_tokens.position_ids", "I64", [1, 4], 32),
  extra("model.layers.0.self_attn.bias", "BOOL", [1, 1, 3, 3], 9),
  extra("model.layers.1.self_attn.masked_bias", "F32", [], 4),
  extra("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", [3], 12),
  extra("model.layers.0.self_attn.o_proj.bias", "F32", [0], 0),
  extra("model.layers.0.mlp.down_proj.bias", "F64", [0, 2], 0),
  extra("lm_head.weight", "F32", [0, 24], 0),
  extra("model.layers.7.self_attn.q_proj.weight", "I32", [4], 16),
  extra("visual.patch.weight", "F8_E4M3", [2, 2], 4),
];

function renamed(change: (name: string) => string): Uint8Array {
  return encodeSafetensors(weights.map((tensor) => ({ ...tensor, name: change(tensor.name) })));
}

function folder(model: Uint8Array, others: Files = {}): Files {
  return { "config.json": config, "model.safetensors": model, ...others };
}

const plain = encodeSafetensors(weights);
const half = weights.length >> 1;
const shards: Files = {
  "config.json": config,
  "a.safetensors": encodeSafetensors(weights.slice(0, half)),
  "b.safetensors": encodeSafetensors(weights.slice(half)),
  "model.safetensors.index.json": {
    weight_map: Object.fromEntries([
      ...weights.map(({ name }, at) => [name, at < half ? "a.safetensors" : "b.safetensors"]),
      ["lm_head.weight", "b.safetensors"],
    ]),
  },
};

function gguf(metadata: WrittenGguf["metadata"], tensors: readonly WrittenTensor[]): Files {
  return {
    "x.gguf": encodeGguf({
      metadata: [...metadata, ...ggufMetadata(TIED)],
      tensors: [...tensors, ...ggufTensors(weights)],
    }),
  };
}

const nested: WrittenGguf["metadata"] = [
  ["k", ["lists", [["i32s", [1, 2]], ["strings", ["a", "b"]], ["f32s", []]]]],
  ["qwen2.k", ["lists", []]],
];

const variants: Readonly<Record<string, Files>> = {
  "names without the prefix model.": folder(renamed((name) => name.replace(/^model\./, ""))),
  "a tied matrix stored as the head alone": folder(
    renamed((name) => name.replace("model.embed_tokens", "lm_head")),
  ),
  "a head alone and no prefix": folder(
    renamed((name) => name.replace("model.embed_tokens", "lm_head").replace(/^model\./, "")),
  ),
  "an index that names a tied head": shards,
  "unused tensors of other types and of no elements": folder(
    encodeSafetensors([...unused, ...weights]),
  ),
  "numbers as Python writes them": folder(plain, {
    "config.json": configText.replace(
      "{",
      '{"a":[Infinity,-Infinity,NaN],"b\\"NaN":"Infinity \\\\",',
    ),
    "generation_config.json": '{"length_penalty": NaN, "max_time": Infinity, "eos_token_id": 0}',
  }),
  "nested lists in metadata": gguf(nested, []),
  "unused GGUF tensors": gguf([], [
    extra("token_types.table", "I64", [2], 16),
    extra("blk.0.attn_output.bias", "F32", [0], 0),
    extra("blk.0.attn_rot_embd.x", "IQ1_S", [7], 0),
  ]),
};

async function logitsOf(files: Files): Promise<Float32Array> {
  await using place = await temporaryFolder();
  await writeFiles(place.path, files);
  await using device = await openDevice({ backend: "reference" });
  using model = await loadModel(place.path, { device });
  const trace = await traceAttention(model, [3, 1, 36, 0], { logits: "all" });
  return trace.logits;
}

Deno.test("loadModel() computes the same from valid files of every form", async () => {
  const expected = await logitsOf(folder(plain));
  assert(new Set(expected).size > 100);
  for (const [what, files] of Object.entries(variants)) {
    assertEquals(await logitsOf(files), expected, what);
  }
});
