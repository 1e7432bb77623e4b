#!/usr/bin/env bash
# mlx-lm: the first four tokens, which a bounded cache keeps as attention sinks, are hidden from a prompt that is longer.
#
# Guess of a good engineer: with `max_kv_size`, which keeps the first 4 tokens beside the newest ones, every token sees these 4,
# as in StreamingLLM, and a text gets the same logits whether it is read in one pass, in two or token by token.
# Seen with mlx-lm 0.32.2 and mlx 0.32.4, 16 tokens allowed, 43 tokens, the last ones one by one; later tokens that change with
# token 0 and with token 3 in a model of one layer:
#   40 in one pass      1-15 and 40-42          4-18 and 40-42
#   20 + 20             1-15, 20 and 40-42      4-18, 20-23 and 40-42
#   token by token      1-42                    4-42
# The mask of a pass is a plain window over the slots of the cache, the sinks' too. So most of a long prompt is read without
# sinks and over 16 newest tokens, and the answer with sinks and over 12; what they see depends on `prefill_step_size`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
cat > run.py <<'PY'
import mlx.core as mx
import numpy as np
from mlx_lm.models import qwen2
from mlx_lm.models.cache import make_prompt_cache

mx.random.seed(0)
model = qwen2.Model(qwen2.ModelArgs(model_type="qwen2", hidden_size=64, num_hidden_layers=1, intermediate_size=64,
                                    num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5, vocab_size=64))
text = np.random.default_rng(0).integers(3, 64, 43)


def read(tokens, passes):
    cache = make_prompt_cache(model, 16)
    parts = np.split(tokens, np.cumsum(passes)[:-1])
    return np.concatenate([np.array(model(mx.array(part)[None], cache=cache)[0]) for part in parts])


def who_sees(place, passes):
    other = text.copy()
    other[place] = 3 if text[place] == 63 else text[place] + 1
    changed = np.abs(read(text, passes) - read(other, passes)).max(axis=1) > 1e-6
    places = np.flatnonzero(changed)
    places = places[places > place]
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


for name, passes in {"40": [40, 1, 1, 1], "20 + 20": [20, 20, 1, 1, 1], "one by one": [1] * 43}.items():
    print(f"{name}: {who_sees(0, passes)}; {who_sees(3, passes)}")
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
40: 1-15, 40-42; 4-18, 40-42
20 + 20: 1-15, 20, 40-42; 4-18, 20-23, 40-42
one by one: 1-42; 4-42
TXT
echo "as described"
