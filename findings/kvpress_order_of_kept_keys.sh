#!/usr/bin/env bash
# kvpress: kept keys are stored by score, so a press that goes by place takes other tokens for the sinks and the window.
#
# Guess of a good engineer: what is kept stays in the order of the text. So StreamingLLMPress, each ten decoded tokens under
# DecodingPress, holds the first four tokens and the newest sixteen; and after KnormPress, it holds the first and the last of
# what that press kept.
# Seen with kvpress 0.5.5, transformers 5.2.0 and torch 2.15.0: each compression leaves the order of `topk`, and the next one
# reads places in the cache as places in the text. Under DecodingPress, token 0 is dropped at the second compression, tokens
# of older windows stay for good and newer ones go. After KnormPress, the tokens of the smallest and largest kept norms stay.
# No warning is given, and the number of kept tokens is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python kvpress==0.5.5 transformers==5.2.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from kvpress import ComposedPress, DecodingPress, KnormPress, StreamingLLMPress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=1)).eval()
text = torch.randint(3, 64, (1, 120))


@torch.no_grad()
def read(cache, first, last):
    places = torch.arange(first, last)
    model(text[:, first:last], past_key_values=cache, position_ids=places[None], cache_position=places)


whole = DynamicCache()
read(whole, 0, 120)
keys = whole.layers[0].keys[0, 0]


def kept(press, prompt, length):
    cache = DynamicCache()
    with press(model):
        read(cache, 0, prompt)
        for place in range(prompt, length):
            read(cache, place, place + 1)
    return [int((keys - key).abs().sum(1).argmin()) for key in cache.layers[0].keys[0, 0]]


def tell(name, guess, found):
    print(f"{name}\n  guess {guess}\n  found {sorted(found)}")
    assert len(found) == len(guess) and sorted(found) != guess


sinks = StreamingLLMPress(n_sink=4)
found = kept(DecodingPress(base_press=sinks, compression_interval=10, target_size=20), 20, 120)
tell("StreamingLLMPress under DecodingPress", [*range(4), *range(104, 120)], found)
assert 0 not in found
first = KnormPress(0.5)
order = sorted(kept(first, 40, 40))
assert order != kept(first, 40, 40)
found = kept(ComposedPress([first, StreamingLLMPress(0.5, n_sink=4)]), 40, 40)
tell("StreamingLLMPress after KnormPress", order[:4] + order[-6:], found)
PY
./venv/bin/python run.py 2>/dev/null
echo "as described"
