"""Writes how transformers reads config.json files that leave fields out or state them twice.

    python tools/goldens/config_fields.py

tests/fixtures/config_fields.json.gz is a list of [fields beside the sizes, what they mean]. Only transformers
is needed, not torch.
"""

import copy
import gzip
import itertools
import json
import pathlib

import transformers

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "config_fields.json.gz"
SIZES = {
    "hidden_size": 1024, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 32,
    "vocab_size": 64,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPES = [
    None,
    {},
    {"rope_type": "default", "rope_theta": 500000.0},
    {"rope_theta": 300000.0},
    {"type": "linear", "factor": 4.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 70000.0, "partial_rotary_factor": 1.0},
    {"type": "linear", "rope_type": "default", "factor": 4.0},
    LLAMA3,
    {**LLAMA3, "original_max_position_embeddings": 99},
    {"rope_type": "yarn", "factor": 4.0},
    {"type": "dynamic", "factor": 4.0},
    {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
]
OTHERS = [
    {}, {"rope_theta": 7.0}, {"original_max_position_embeddings": 77, "rope_theta": 9.0},
    {"partial_rotary_factor": 0.5}, {"max_position_embeddings": 4096},
]
SCALED = {
    "rope_type": "yarn", "factor": 4.0, "rope_theta": 5.0, "original_max_position_embeddings": 99,
    "llama_4_scaling_beta": 0.25,
}
LINEAR = {"rope_type": "linear", "factor": 8.0}
NESTED_ROPES = [
    None,
    {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}},
    {"full_attention": {**LINEAR, "rope_theta": 5.0}, "sliding_attention": {"rope_theta": 3.0}},
    {"full_attention": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}},
]
WINDOWS = [
    {"sliding_window": 16},
    {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1},
    {"sliding_window": 16, "layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": True},
    {"sliding_window": 16, "sliding_window_pattern": 2},
]
TOKENS = [None, 5, [6, 7]]


def cases():
    for family, new, old, other in itertools.product(["llama"], ROPES, ROPES, OTHERS):
        # A null, a missing and an empty object are alike; one of the three is enough in most places.
        if new is None or old == {}:
            yield {"model_type": family, "rope_scaling": old, **other}
        else:
            yield {"model_type": family, "rope_parameters": new, "rope_scaling": old, **other}
    for family in [
        "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "granite", "ministral3",
    ]:
        yield {"model_type": family}
        yield {"model_type": family, "rope_theta": 3.0, "tie_word_embeddings": True}
        for tokens in TOKENS:
            yield {"model_type": family, "eos_token_id": tokens, "bos_token_id": 4}
            yield {"model_type": family, "bos_token_id": None, "eos_token_id": tokens}
        yield {"model_type": family, "num_key_value_heads": 4, "rms_norm_eps": 1e-5}
    for family, new, old in itertools.product(["gemma3_text"], NESTED_ROPES, [None, LLAMA3, LINEAR]):
        for local in ({}, {"rope_local_base_freq": 77.0, "rope_theta": 99.0}):
            types = ["full_attention", "sliding_attention"]
            yield {"model_type": family, "layer_types": types, "rope_parameters": new, "rope_scaling": old, **local}
    for new, old in itertools.product([None, SCALED, {**SCALED, "rope_type": "dynamic"}], [None, {}, SCALED, LLAMA3]):
        yield {"model_type": "ministral3", "rope_parameters": new, "rope_scaling": old}
        yield {"model_type": "ministral3", "rope_parameters": new, "rope_scaling": old, **OTHERS[2]}
    for family, window in itertools.product(["mistral", "ministral3", "qwen2", "qwen3", "gemma2", "gemma3_text"], WINDOWS):
        yield {"model_type": family, **window}


def meaning(fields):
    """What transformers makes of the fields; null where the forward pass differs from what is supported."""
    config = transformers.AutoConfig.for_model(**copy.deepcopy({**SIZES, **fields}))
    config.standardize_rope_params()  # as the rotary embedding does before it reads them
    layer_types = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    if config.model_type in ("mistral", "ministral3") and "full_attention" in layer_types:
        return None  # its model passes over them with a warning
    supported = rope["rope_type"] in ("default", "linear", "llama3", "yarn", "dynamic")
    if not supported or rope.get("partial_rotary_factor", 1) != 1:
        return None
    scaling = {} if rope["rope_type"] == "default" else rope
    beta = rope.get("llama_4_scaling_beta") if config.model_type == "ministral3" else 0
    if beta is None:
        return None  # its model multiplies by it
    end = config.eos_token_id
    return {
        "headDim": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "kvHeads": config.num_key_value_heads,
        "normEpsilon": config.rms_norm_eps,
        "ropeBase": rope["rope_theta"],
        "ropeKind": rope["rope_type"],
        "ropeFactor": scaling.get("factor", 1),
        "originalContextLength": (
            rope["original_max_position_embeddings"] if rope["rope_type"] in ("llama3", "yarn")
            else config.max_position_embeddings if rope["rope_type"] == "dynamic" else None
        ),
        "queryScaling": beta and [beta, rope["original_max_position_embeddings"]],
        "windows": [window if kind == "sliding_attention" else None for kind in layer_types],
        "isTied": config.tie_word_embeddings,
        "bosTokenId": config.bos_token_id,
        "eosTokenIds": [] if end is None else end if isinstance(end, list) else [end],
    }


if __name__ == "__main__":
    lines = dict.fromkeys(json.dumps([fields, meaning(fields)]) for fields in cases())
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    FIXTURE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(len(lines), "cases,", FIXTURE.stat().st_size, "bytes")
