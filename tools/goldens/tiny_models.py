"""Writes random tiny models and what transformers answers: tests/fixtures/tiny/NAME/.

    python tools/goldens/tiny_models.py

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
}


def randomize(model, generator):
    """Weights large enough that attention is uneven and every bias and norm matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.data = 1 + 0.2 * noise
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
    config = config_class(**{**COMMON, **sizes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomize(model, torch.Generator().manual_seed(seed))
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_size or "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    stored = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = numpy.random.default_rng(seed).integers(0, config.vocab_size, POSITIONS)
    data = safetensors.numpy.save(golden(stored, tokens), {"model": name})
    (folder / "golden.safetensors.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    print(name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


if __name__ == "__main__":
    for index, model_name in enumerate(MODELS):
        write(model_name, index)
