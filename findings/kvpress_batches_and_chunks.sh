#!/usr/bin/env bash
# kvpress: padding competes with text for the cache, and a prompt in two passes is compressed only in its first one.
#
# Guess of a good engineer: in a batch of prompts that are padded on the left, as generation wants them, tokens that
# `attention_mask` hides are the first to go, or a batch is refused; and a prompt that is read in two passes within one
# `with press(model)` ends with the share of the cache that a single pass leaves.
# Seen with kvpress 0.5.5, transformers 5.2.0 and torch 2.15.0, half of the cache dropped, prompts of 20 and 40 tokens:
#   StreamingLLMPress, n_sink=4   the short prompt's sinks are four tokens of padding; its own first four are dropped
#   ExpectedAttentionPress        most of what is kept of the short prompt is padding
#   both                          20 tokens are kept of the prompt of 20, where 10 are kept if it runs alone
#   a prompt of 40 as 20 + 20     30 tokens stay, where one pass leaves 20
# No warning is given. Presses that rank by attention drop padding, but keep twice the share of the short prompt, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check kvpress==0.5.5 transformers==5.2.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from kvpress import ExpectedAttentionPress, StreamingLLMPress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=1, attn_implementation="eager")).eval()
short, long = torch.randint(3, 64, (1, 20)), torch.randint(3, 64, (1, 40))
batch = torch.cat([torch.cat([torch.zeros(1, 20, dtype=torch.long), short], 1), long])
mask = (torch.arange(40) >= torch.tensor([[20], [0]])).long()
padded = dict(attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))


@torch.no_grad()
def run(cache, ids, **options):
    model(ids, past_key_values=cache, **options)


def keys(press, ids, **options):
    cache = DynamicCache()
    with press(model):
        run(cache, ids, **options)
    return cache.layers[0].keys[:, 0]


whole = DynamicCache()
run(whole, batch, **padded)
places = whole.layers[0].keys[0, 0]
for press in [StreamingLLMPress(0.5, n_sink=4), ExpectedAttentionPress(0.5)]:
    kept = [int((places - key).abs().sum(1).argmin()) for key in keys(press, batch, **padded)[0]]
    text = [place - 20 for place in kept if place >= 20]
    name, alone = type(press).__name__, keys(press, short).shape[1]
    print(f"{name}: {len(kept)} kept, {len(kept) - len(text)} padding; alone {alone}")
    assert len(kept) == 20 and alone == 10
    if name == "StreamingLLMPress":
        assert sorted(text) == list(range(4, 20))
    else:
        assert len(text) < 10
cache = DynamicCache()
press = StreamingLLMPress(0.5, n_sink=4)
with press(model):
    run(cache, long[:, :20])
    run(cache, long[:, 20:])
counts = cache.layers[0].keys.shape[2], keys(press, long).shape[1]
print(f"two passes: {counts[0]} of 40; one pass: {counts[1]}")
assert counts == (30, 20)
PY
./venv/bin/python run.py 2>/dev/null
echo "as described"
