#!/usr/bin/env bash
# transformers, Gemma 3: two fields of the configuration are accepted, stored, and change no logit.
#
# Guess of a good engineer: `attn_logit_softcapping`, which the class lists beside `final_logit_softcapping`, caps scores of
# attention as it does in Gemma 2; and `rope_parameters` without layer types, as other families have it, stretches the
# rotation of all layers, or is refused.
# Seen with transformers 5.24.0 and torch 2.15.0, on a tiny random model:
#   final_logit_softcapping=1              logits change
#   attn_logit_softcapping=1               the same logits
#   rope_parameters of full_attention      logits change
#   the same rope_parameters, flat         the same logits; it stays in the configuration beside the defaults by layer type
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2,
             num_key_value_heads=1, head_dim=16, sliding_window=8, max_position_embeddings=256,
             attn_implementation="eager")
LINEAR = dict(rope_type="linear", factor=8.0, rope_theta=1e6)
FIELDS = {
    "final_logit_softcapping": dict(final_logit_softcapping=1.0),
    "attn_logit_softcapping": dict(attn_logit_softcapping=1.0),
    "rope_parameters by layer type": dict(rope_parameters={
        "full_attention": LINEAR,
        "sliding_attention": dict(rope_type="default", rope_theta=1e4),
    }),
    "rope_parameters, flat": dict(rope_parameters=LINEAR),
}


def logits(**fields):
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **fields)).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data *= 8
    with torch.no_grad():
        return model(torch.arange(1, 41)[None]).logits


plain = logits()
for name, fields in FIELDS.items():
    print(name, "changes" if (logits(**fields) - plain).abs().max() > 0 else "ignored", sep=": ")
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
final_logit_softcapping: changes
attn_logit_softcapping: ignored
rope_parameters by layer type: changes
rope_parameters, flat: ignored
TXT
echo "as described"
