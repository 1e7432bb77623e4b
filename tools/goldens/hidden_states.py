"""The residual stream, keys and values of tiny models as transformers computes them.

    python tools/goldens/hidden_states.py tests/fixtures/hidden_states.json

Keys are those of the cache, after rotation.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tiny"
MODELS = ["qwen2_untied_f32", "qwen3_sharded_bf16", "llama3_rope_f16"]
TOKENS = [3, 17, 5, 60, 5, 2, 41]


def rounded(values: torch.Tensor) -> list:
    return [float(f"{value:.7g}") for value in values.flatten().tolist()]


def golden(name: str) -> dict:
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32, attn_implementation="eager")
    states = []

    def keep(_module: torch.nn.Module, inputs: tuple) -> None:
        states.append(inputs[0][0])

    # What each layer reads, and what the last norm reads.
    for module in [*model.model.layers, model.model.norm]:
        module.register_forward_pre_hook(keep)
    with torch.no_grad():
        cache = model(torch.tensor([TOKENS]), use_cache=True).past_key_values
    return {
        "tokens": TOKENS,
        "hidden": rounded(torch.stack(states)),
        "keys": rounded(torch.stack([layer.keys[0] for layer in cache.layers])),
        "values": rounded(torch.stack([layer.values[0] for layer in cache.layers])),
    }


def main() -> None:
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(golden(name))}" for name in MODELS)
    pathlib.Path(sys.argv[1]).write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
