"""Writes random tiny models and what transformers answers: tests/fixtures/tiny/NAME/.

    python tools/goldens/tiny_models.py [NAME ...]

Each folder holds a model in the Hugging Face layout and golden.safetensors.gz, computed in float32 with
eager attention from the weights as stored:

    tokens      i32 [positions]                           token ids
    logits      f32 [positions, vocabulary]               all rows
    attention   f16 [layers * heads, positions, positions] attention after softmax
    accumulated f32 [layers * heads, positions]            column sums of attention
"""

import gzip
import pathlib
import shutil
import sys

import numpy
import safetensors.numpy
import torch
import transformers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tiny"
POSITIONS = 40

# Sizes are odd on purpose: none is a multiple of 32, heads times head_dim differs from hidden.
COMMON = {"num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
MODELS = {
    "qwen2_tied_bf16": (
        transformers.Qwen2Config,
        {
            "hidden_size": 44, "intermediate_size": 52, "vocab_size": 131,
            "num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 8,
            "tie_word_embeddings": True,
        },
        torch.bfloat16,
        None,
    ),
    "qwen2_untied_f32": (
        transformers.Qwen2Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 97,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
            "tie_word_embeddings": False,
        },
        torch.float32,
        None,
    ),
    "qwen3_sharded_bf16": (
        transformers.Qwen3Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 101,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16,
            "tie_word_embeddings": False,
        },
        torch.bfloat16,
        "20KB",
    ),
    "llama3_rope_f16": (
        transformers.LlamaConfig,
        {
            "hidden_size": 60, "intermediate_size": 92, "vocab_size": 131,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16,
            "tie_word_embeddings": True, "max_position_embeddings": 2048,
            "eos_token_id": [2, 3],
            # A short original context, so that forty positions feel the scaling.
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        torch.float16,
        None,
    ),
    "mistral_sharded_f32": (
        transformers.MistralConfig,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 67,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
            "tie_word_embeddings": False, "sliding_window": None,
        },
        torch.float32,
        "30KB",
    ),
    "smollm2_tied_bf16": (
        transformers.LlamaConfig,
        {
            "hidden_size": 36, "intermediate_size": 52, "vocab_size": 131,
            "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 8,
            "tie_word_embeddings": True, "num_hidden_layers": 3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        },
        torch.bfloat16,
        None,
    ),
    # Windows are shorter than the forty positions, soft caps low enough to matter.
    "gemma3_bf16": (
        transformers.Gemma3TextConfig,
        {
            "hidden_size": 20, "intermediate_size": 28, "vocab_size": 131, "num_hidden_layers": 7,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
            "sliding_window": 11, "query_pre_attn_scalar": 5,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
        torch.bfloat16,
        None,
    ),
    "gemma2_f32": (
        transformers.Gemma2Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 101, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10,
            "sliding_window": 9, "query_pre_attn_scalar": 7,
            "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0,
        },
        torch.float32,
        None,
    ),
    "mistral_window_bf16": (
        transformers.MistralConfig,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 67,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "tie_word_embeddings": False, "sliding_window": 13,
        },
        torch.bfloat16,
        None,
    ),
    "qwen3_window_bf16": (
        transformers.Qwen3Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 67, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 9,
            "max_window_layers": 1,
        },
        torch.bfloat16,
        None,
    ),
    "olmo2_bf16": (
        transformers.Olmo2Config,
        {
            "hidden_size": 40, "intermediate_size": 44, "vocab_size": 101,
            "num_attention_heads": 4, "num_key_value_heads": 2,
        },
        torch.bfloat16,
        None,
    ),
    "granite_f32": (
        transformers.GraniteConfig,
        {
            "hidden_size": 40, "intermediate_size": 44, "vocab_size": 97, "tie_word_embeddings": True,
            "num_attention_heads": 5, "num_key_value_heads": 1, "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22, "logits_scaling": 8.0, "attention_multiplier": 0.3,
        },
        torch.float32,
        None,
    ),
    # Contexts before stretching are shorter than the forty positions, but for short factors.
    "qwen2_yarn_bf16": (
        transformers.Qwen2Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 97, "head_dim": 20,
            "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0},
        },
        torch.bfloat16,
        None,
    ),
    "llama_dynamic_bf16": (
        transformers.LlamaConfig,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 97, "head_dim": 16,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 24,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        },
        torch.bfloat16,
        None,
    ),
    "llama_longrope_bf16": (
        transformers.LlamaConfig,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 97, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 24,
                "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 1.5, 3.0, 6.0],
            },
        },
        torch.bfloat16,
        None,
    ),
    "gemma3_ropes_bf16": (
        transformers.Gemma3TextConfig,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 67, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 21,
            "layer_types": ["full_attention", "sliding_attention"], "query_pre_attn_scalar": 8,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn", "rope_theta": 1000.0, "factor": 8.0, "beta_fast": 6.0,
                    "original_max_position_embeddings": 32, "mscale": 1.0, "mscale_all_dim": 0.5,
                },
                "sliding_attention": {
                    "rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0,
                    "original_max_position_embeddings": 64,
                    "short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.0, 5.0],
                },
            },
        },
        torch.bfloat16,
        None,
    ),
    "granite4_bf16": (
        transformers.GraniteMoeHybridConfig,
        {
            "hidden_size": 40, "shared_intermediate_size": 44, "vocab_size": 97, "tie_word_embeddings": True,
            "num_attention_heads": 5, "num_key_value_heads": 1, "embedding_multiplier": 12.0, "num_local_experts": 0,
            "residual_multiplier": 0.22, "logits_scaling": 8.0, "attention_multiplier": 0.3,
            "position_embedding_type": "rope", "layer_types": ["full_attention", "full_attention"],
            "mamba_n_heads": 4, "mamba_d_head": 20,
        },
        torch.bfloat16,
        None,
    ),
    # Reads images, too; the sizes of its text model that published files leave out are those of the family.
    "gemma3_images_bf16": (
        transformers.Gemma3Config,
        {
            "text_config": {
                **COMMON, "hidden_size": 20, "intermediate_size": 28, "vocab_size": 131, "num_key_value_heads": 2,
                "head_dim": 8, "sliding_window": 11, "query_pre_attn_scalar": 5, "num_attention_heads": 4,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            "vision_config": {
                "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": 8, "patch_size": 4,
            },
            "mm_tokens_per_image": 4, "image_token_index": 130, "boi_token_index": 129, "eoi_token_index": 128,
        },
        torch.bfloat16,
        None,
    ),
    # Forty positions are more than five contexts before stretching, so that queries are scaled by five factors above 1.
    "ministral3_bf16": (
        transformers.Ministral3Config,
        {
            "hidden_size": 36, "intermediate_size": 44, "vocab_size": 97, "head_dim": 16,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 10000.0, "factor": 9.0, "original_max_position_embeddings": 7,
                "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.4,
            },
        },
        torch.bfloat16,
        None,
    ),
    "ministral3_images_bf16": (
        transformers.Mistral3Config,
        {
            "text_config": {
                **COMMON, "model_type": "ministral3", "hidden_size": 20, "intermediate_size": 28, "vocab_size": 67,
                "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 17,
                "max_position_embeddings": 2048, "tie_word_embeddings": True,
                "rope_parameters": {
                    "rope_type": "yarn", "rope_theta": 1000.0, "factor": 64.0, "beta_fast": 4.0, "beta_slow": 0.5,
                    "original_max_position_embeddings": 11, "mscale": 1.0, "mscale_all_dim": 0.5,
                    "llama_4_scaling_beta": 0.2,
                },
            },
            "vision_config": {
                "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                "num_attention_heads": 2, "head_dim": 8, "image_size": 8, "patch_size": 4,
            },
            "image_token_index": 66, "spatial_merge_size": 1, "tie_word_embeddings": True,
        },
        torch.bfloat16,
        None,
    ),
}


def randomize(model, generator):
    """Weights large enough that attention is uneven and every bias and norm matters."""
    center = 0 if model.config.model_type.startswith("gemma") else 1  # Gemma's norms add 1 to their weights
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or "ln_pre" in name:
            parameter.data = center + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.3 * noise
        elif "embed" in name:
            parameter.data = 0.7 * noise
        else:
            parameter.data = noise / parameter.shape[1] ** 0.5


def golden(model, tokens):
    """What a model in float32 answers."""
    with torch.no_grad():
        output = model(torch.tensor([tokens.tolist()]), output_attentions=True)
    attention = torch.cat([layer[0] for layer in output.attentions]).numpy()
    return {
        "tokens": tokens.astype(numpy.int32),
        "logits": output.logits[0].numpy(),
        "attention": attention.astype(numpy.float16),
        "accumulated": attention.sum(1, dtype=numpy.float64).astype(numpy.float32),
    }


def write(name, seed):
    config_class, sizes, dtype, shard_size = MODELS[name]
    config = config_class(**({} if "text_config" in sizes else COMMON), **sizes)
    auto = transformers.AutoModelForImageTextToText if "text_config" in sizes else transformers.AutoModelForCausalLM
    model = auto.from_config(config)
    randomize(model, torch.Generator().manual_seed(seed))
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_size or "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    stored = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = numpy.random.default_rng(seed).integers(0, config.get_text_config().vocab_size, POSITIONS)
    data = safetensors.numpy.save(golden(stored, tokens), {"model": name})
    (folder / "golden.safetensors.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    print(name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


if __name__ == "__main__":
    for index, model_name in enumerate(MODELS):
        if model_name in (sys.argv[1:] or MODELS):
            write(model_name, index)
