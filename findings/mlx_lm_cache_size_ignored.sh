#!/usr/bin/env bash
# mlx-lm: `max_kv_size` bounds the cache of some families and does nothing for others, Llama among them.
#
# Guess of a good engineer: `generate_step(..., max_kv_size=n)`, or `--max-kv-size n`, bounds the cache of any model with plain
# attention, as its description has it: "Maximum size of the key-value cache"; where a model cannot do that, it is refused.
# Seen with mlx-lm 0.32.2 and mlx 0.32.4, tiny random models, a prompt of 60 tokens, 16 allowed, logits after it:
#   qwen2   16 tokens in a RotatingKVCache    other logits than without a bound
#   llama   all 61 tokens in a KVCache        the same logits as without a bound
# Whatever family makes its own cache ignores the argument, without a warning, and Llama's makes its own although it is the
# usual one of each layer. The same code thus compares a bounded cache of Qwen2.5 with a full one of SmolLM2 or Llama 3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
cat > run.py <<'PY'
import importlib

import mlx.core as mx
from mlx_lm.models import llama, qwen2

generate = importlib.import_module("mlx_lm.generate")

mx.random.seed(0)
SIZES = dict(hidden_size=64, num_hidden_layers=1, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1,
             rms_norm_eps=1e-5, vocab_size=64)
made = []
make = generate.make_prompt_cache


def remembered(*arguments, **options):
    made.append(make(*arguments, **options))
    return made[-1]


generate.make_prompt_cache = remembered


def first_logits(model, **options):
    step = generate.generate_step(mx.arange(60) + 3, model, max_tokens=1, **options)
    return next(step)[1]


def seen(name, module):
    model = module.Model(module.ModelArgs(model_type=name, **SIZES))
    whole, bounded = first_logits(model), first_logits(model, max_kv_size=16)
    cache = made[-1][0]
    same = mx.allclose(whole, bounded, atol=1e-6).item()
    return f"{name} {type(cache).__name__} {cache.keys_and_values()[0].shape[2]} {'same' if same else 'other'} logits"


for name, module in dict(qwen2=qwen2, llama=llama).items():
    print(seen(name, module))
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
qwen2 RotatingKVCache 16 other logits
llama KVCache 61 same logits
TXT
echo "as described"
