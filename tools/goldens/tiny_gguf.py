"""Writes random tiny GGUF models and what transformers answers: tests/fixtures/tiny_gguf/NAME.*.

    python tools/goldens/tiny_gguf.py [NAME ...]

Blocks come from gguf.quants; those of K-quants and IQ4, which that package only reads, are random. The answers are
those of transformers in float32 after loading the same file, or, of a family whose GGUF files it does not load, after
taking over the tensors that gguf reads; NAME.safetensors.gz holds the tensors described in tiny_models.py.
"""

import gzip
import pathlib
import sys

import gguf
import numpy
import safetensors.numpy
import torch
import transformers
from gguf import GGMLQuantizationType as Type

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tiny_gguf"
POSITIONS = 40
NORM_EPSILON = 1e-6

# Sizes: layers, hidden, mlp, query heads, KV heads, vocabulary. Blocks ask for columns in 32s, K-quants in 256s.
MODELS = {
    "qwen2_mixed": {
        "architecture": "qwen2", "sizes": (2, 64, 96, 4, 1, 131), "tied": False,
        "types": {
            "token_embd": Type.Q8_0, "output": Type.Q5_0, "attn_q": Type.Q4_0, "attn_k": Type.Q4_1,
            "attn_v": Type.Q5_0, "attn_output": Type.Q5_1, "ffn_gate": Type.F16, "ffn_up": Type.Q8_0,
            "ffn_down": Type.F32,
        },
    },
    "qwen2_k_quants": {
        "architecture": "qwen2", "sizes": (1, 256, 64, 8, 2, 67), "tied": True,
        "types": {
            "token_embd": Type.Q6_K, "attn_q": Type.Q4_K, "attn_k": Type.Q5_K, "attn_v": Type.Q6_K,
            "attn_output": Type.Q4_K, "ffn_gate": Type.Q4_K, "ffn_up": Type.Q5_K,
            "ffn_down": Type.Q8_0,
        },
    },
    "llama_f16": {
        "architecture": "llama", "sizes": (2, 64, 96, 4, 1, 131), "tied": False,
        "types": dict.fromkeys(
            ["token_embd", "output", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate",
             "ffn_up", "ffn_down"], Type.F16),
    },
    "llama_q4_1": {
        "architecture": "llama", "sizes": (2, 64, 96, 4, 2, 131), "tied": True,
        "types": {
            "token_embd": Type.Q8_0, "attn_q": Type.Q4_1, "attn_k": Type.Q8_0, "attn_v": Type.BF16,
            "attn_output": Type.Q4_1, "ffn_gate": Type.Q4_1, "ffn_up": Type.Q4_0,
            "ffn_down": Type.Q4_1,
        },
    },
    "qwen2_few_bits": {
        "architecture": "qwen2", "sizes": (1, 256, 64, 8, 2, 67), "tied": True,
        "types": {
            "token_embd": Type.IQ4_XS, "attn_q": Type.Q2_K, "attn_k": Type.Q3_K, "attn_v": Type.IQ4_NL,
            "attn_output": Type.Q3_K, "ffn_gate": Type.MXFP4, "ffn_up": Type.Q2_K, "ffn_down": Type.MXFP4,
        },
    },
    "mistral3_f16": {
        "architecture": "mistral3", "sizes": (2, 64, 96, 4, 2, 97), "tied": True,
        "types": dict.fromkeys(
            ["token_embd", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"], Type.F16),
    },
}

# What the mistral3 model is, as transformers says it; forty positions are four contexts before stretching.
ROPE = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 12,
    "beta_fast": 8.0, "beta_slow": 0.5, "mscale": 1.0, "mscale_all_dim": 0.5, "llama_4_scaling_beta": 0.5,
}


READ_ONLY = (
    Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS,
)


def random_blocks(shape, kind, random):
    """Random blocks, [rows, bytes], with scales that keep weights around 1 / sqrt(columns)."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (shape[0], shape[1] // block, size), dtype=numpy.uint8)
    spread = 0.7 / shape[1] ** 0.5

    def scales(low, high):
        values = random.uniform(low, high, blocks.shape[:2]).astype(numpy.float16)
        return values.view(numpy.uint8).reshape(*blocks.shape[:2], 2)

    if kind == Type.Q6_K:  # d is last; scales are int8, quants -32..31
        blocks[..., 192:208] = random.integers(32, 64, blocks[..., 192:208].shape, dtype=numpy.uint8)
        blocks[..., 208:210] = scales(spread / 1200, spread / 800)
    elif kind == Type.Q3_K:  # d is last; scales and quants go to -32..31 and -4..3
        blocks[..., 108:110] = scales(spread / 80, spread / 50)
    elif kind == Type.Q2_K:  # d and dmin are last; scales, minima have 4 bits, quants 2
        blocks[..., 80:82] = scales(spread / 15, 2 * spread / 15)
        blocks[..., 82:84] = scales(spread / 10, 2 * spread / 10)
    elif kind == Type.IQ4_NL:  # integers -127..113
        blocks[..., 0:2] = scales(spread / 90, spread / 60)
    elif kind == Type.IQ4_XS:  # scales go to -32..31 as well
        blocks[..., 0:2] = scales(spread / 1800, spread / 1200)
    else:  # d and dmin are first; scales and minima have 6 bits
        levels = 15 if kind == Type.Q4_K else 31
        blocks[..., 0:2] = scales(2 * spread / levels / 32, 4 * spread / levels / 32)
        blocks[..., 2:4] = scales(spread / 32, 2 * spread / 32)
    return blocks.reshape(shape[0], -1)


def add_matrix(writer, name, shape, kind, random):
    if kind in READ_ONLY:
        writer.add_tensor(name, random_blocks(shape, kind, random), raw_dtype=kind)
        return
    scale = 0.7 if "token_embd" in name else 1.5 / shape[1] ** 0.5
    values = (scale * random.standard_normal(shape)).astype(numpy.float32)
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def add_vector(writer, name, size, center, spread, random):
    values = center + spread * random.standard_normal(size)
    writer.add_tensor(name, values.astype(numpy.float32))


def add_metadata(writer, model):
    layers, hidden, mlp, heads, kv_heads, vocabulary = model["sizes"]
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if model["architecture"] != "qwen2":
        writer.add_rope_dimension_count(hidden // heads)
    if model["architecture"] == "mistral3":  # the keys that llama.cpp's converter writes for Ministral 3
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(ROPE["factor"])
        writer.add_rope_scaling_orig_ctx_len(ROPE["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(ROPE["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(ROPE["beta_slow"])
        writer.add_rope_scaling_yarn_log_mul(ROPE["mscale_all_dim"])
        writer.add_attn_temperature_scale(ROPE["llama_4_scaling_beta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    # 95 printable characters, then made-up pieces: enough for readers that insist on a tokenizer.
    tokens = [chr(33 + i) if i < 94 else f"<piece{i}>" for i in range(vocabulary)]
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * vocabulary)
    writer.add_token_merges(["! !"])


def write_model(path, model, random):
    layers, hidden, mlp, heads, kv_heads, vocabulary = model["sizes"]
    types, head_dim = model["types"], hidden // heads
    writer = gguf.GGUFWriter(path, model["architecture"])
    add_metadata(writer, model)
    add_matrix(writer, "token_embd.weight", (vocabulary, hidden), types["token_embd"], random)
    add_vector(writer, "output_norm.weight", hidden, 1, 0.2, random)
    if not model["tied"]:
        add_matrix(writer, "output.weight", (vocabulary, hidden), types["output"], random)
    shapes = {
        "attn_q": (heads * head_dim, hidden), "attn_k": (kv_heads * head_dim, hidden),
        "attn_v": (kv_heads * head_dim, hidden), "attn_output": (hidden, heads * head_dim),
        "ffn_gate": (mlp, hidden), "ffn_up": (mlp, hidden), "ffn_down": (hidden, mlp),
    }
    for layer in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            add_vector(writer, f"blk.{layer}.{norm}.weight", hidden, 1, 0.2, random)
        for name, shape in shapes.items():
            add_matrix(writer, f"blk.{layer}.{name}.weight", shape, types[name], random)
        for name in ("attn_q", "attn_k", "attn_v") if model["architecture"] == "qwen2" else ():
            add_vector(writer, f"blk.{layer}.{name}.bias", shapes[name][0], 0, 0.3, random)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def halves_apart(weight, heads):
    """Undoes the converter's order of query and key rows: pairs next to each other become half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def ministral3(path, model):
    """transformers' model with the tensors of a file that it does not load itself."""
    layers, hidden, mlp, heads, kv_heads, vocabulary = model["sizes"]
    config = transformers.Ministral3Config(
        num_hidden_layers=layers, hidden_size=hidden, intermediate_size=mlp, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=hidden // heads, vocab_size=vocabulary, rms_norm_eps=NORM_EPSILON,
        max_position_embeddings=2048, rope_parameters=dict(ROPE), tie_word_embeddings=model["tied"],
        pad_token_id=None, attn_implementation="eager",
    )
    names = {
        "token_embd": "embed_tokens", "output_norm": "norm", "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm", "attn_output": "self_attn.o_proj",
        **{f"attn_{one}": f"self_attn.{one}_proj" for one in "qkv"},
        **{f"ffn_{one}": f"mlp.{one}_proj" for one in ("gate", "up", "down")},
    }
    weights = {}
    for tensor in gguf.GGUFReader(path).tensors:
        *block, stem, _ = tensor.name.split(".")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if stem in ("attn_q", "attn_k"):
            values = halves_apart(values, heads if stem == "attn_q" else kv_heads)
        place = f"layers.{block[1]}." if block else ""
        weights[f"model.{place}{names[stem]}.weight"] = torch.from_numpy(values.astype(numpy.float32))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    reference = transformers.Ministral3ForCausalLM(config)
    reference.load_state_dict(weights)
    return reference


def write(name, seed):
    random = numpy.random.default_rng(seed)
    path = FIXTURES / f"{name}.gguf"
    write_model(path, MODELS[name], random)
    if MODELS[name]["architecture"] == "mistral3":
        model = ministral3(path, MODELS[name]).eval()
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            FIXTURES, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    tokens = random.integers(0, MODELS[name]["sizes"][-1], POSITIONS)
    with torch.no_grad():
        output = model(torch.tensor([tokens.tolist()]), output_attentions=True)
    attention = torch.cat([layer[0] for layer in output.attentions]).numpy()
    tensors = {
        "tokens": tokens.astype(numpy.int32),
        "logits": output.logits[0].numpy(),
        "attention": attention.astype(numpy.float16),
        "accumulated": attention.sum(1, dtype=numpy.float64).astype(numpy.float32),
    }
    golden = FIXTURES / f"{name}.safetensors.gz"
    data = safetensors.numpy.save(tensors, {"model": path.name})
    golden.write_bytes(gzip.compress(data, 9, mtime=0))
    print(name, path.stat().st_size + golden.stat().st_size, "bytes")


if __name__ == "__main__":
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for index, model_name in enumerate(MODELS):
        if model_name in (sys.argv[1:] or MODELS):
            write(model_name, index)
