#!/usr/bin/env bash
# transformers, YaRN: one of its parameters is read from another place than all others where rotations differ by layer type.
#
# Guess of a good engineer: in `rope_parameters` by layer type, all that a layer type's YaRN takes stands in its own entry.
# Seen with transformers 5.24.0 and torch 2.15.0, frequencies of the full layers of Gemma 3, compared with the defaults:
#   "beta_slow" in the entry                 they change, as in families with one rotation
#   "truncate": false in the entry           the same frequencies
#   "truncate": false beside the entries     they change
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
from transformers import Gemma3TextConfig, Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

YARN = dict(rope_type="yarn", factor=8.0, rope_theta=1e6, original_max_position_embeddings=64)
WHOLE = dict(truncate=False)


def one_rotation(**more):
    config = Qwen2Config(hidden_size=64, num_attention_heads=2, max_position_embeddings=512,
                         rope_parameters={**YARN, **more})
    return ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")[0]


def by_layer_type(entry={}, beside={}):
    config = Gemma3TextConfig(hidden_size=64, head_dim=32, num_attention_heads=2, max_position_embeddings=512,
                              rope_parameters={
                                  "full_attention": {**YARN, **entry},
                                  "sliding_attention": dict(rope_type="default", rope_theta=1e4),
                                  **beside,
                              })
    return ROPE_INIT_FUNCTIONS["yarn"](config, "cpu", layer_type="full_attention")[0]


def tell(name, plain, changed):
    print(name, "changes" if (plain - changed).abs().max() > 0 else "ignored", sep=": ")


tell("one rotation, truncate", one_rotation(), one_rotation(**WHOLE))
tell("by layer type, beta_slow in the entry", by_layer_type(), by_layer_type(entry=dict(beta_slow=2.0)))
tell("by layer type, truncate in the entry", by_layer_type(), by_layer_type(entry=WHOLE))
tell("by layer type, truncate beside the entries", by_layer_type(), by_layer_type(beside=WHOLE))
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
one rotation, truncate: changes
by layer type, beta_slow in the entry: changes
by layer type, truncate in the entry: ignored
by layer type, truncate beside the entries: changes
TXT
echo "as described"
