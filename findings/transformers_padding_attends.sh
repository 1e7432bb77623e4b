#!/usr/bin/env bash
# transformers: attention that is asked for has rows for padding, and these spread over all of the prompt, or follow it.
#
# Guess of a good engineer: `attention_mask` keeps padding out of `output_attentions`. Rows of padding are zero, or stay within
# the padding, so sums over queries, by which H2O and its kin rank tokens, are those of the prompt alone.
# Seen with transformers 5.24.0 and torch 2.15.0, "eager", the only implementation that returns attention; a tiny random model
# and a prompt of 10 tokens, what its first and last token get of all queries in one head:
#   alone                    1.06   0.21    five to one
#   10 of padding, left      1.56   0.71    each row of padding has 1/20 everywhere, on what comes after it, too
#   40 of padding, left      1.86   1.01    two to one: each row of padding has 1/50 everywhere
#   40 of padding, right     1.07   0.27    rows of padding look at the prompt as further tokens do
# The rows of the prompt are right. On the left every token gets the same share, so the order within a head stays, but no
# threshold, no share of the largest and no comparison of heads or prompts does. Rows that the mask hides have to be left out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
                                     num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
                                     attn_implementation="eager")).eval()
prompt = torch.randint(3, 64, (1, 10))


@torch.no_grad()
def attention(left, right):
    """The first head's attention in a prompt between so many tokens of padding."""
    ids = torch.nn.functional.pad(prompt, (left, right), value=0)
    mask = torch.nn.functional.pad(torch.ones_like(prompt), (left, right), value=0)
    return model(ids, attention_mask=mask, output_attentions=True).attentions[0][0, 0]


alone = attention(0, 0)
for left, right in [(0, 0), (10, 0), (40, 0), (0, 40)]:
    found = attention(left, right)
    text = slice(left, left + 10)
    assert torch.allclose(found[text, text], alone, atol=1e-4)
    received = found.sum(0)[text]
    flat = left > 0 and torch.allclose(found[:left], torch.full_like(found[:left], 1 / len(found)), atol=1e-4)
    print(f"{left}+10+{right}: {received[0]:.2f} {received[-1]:.2f}{' flat' if flat else ''}")
PY
./venv/bin/python run.py 2>/dev/null | tee seen.txt
diff seen.txt - <<'TXT'
0+10+0: 1.06 0.21
10+10+0: 1.56 0.71 flat
40+10+0: 1.86 1.01 flat
0+10+40: 1.07 0.27
TXT
echo "as described"
