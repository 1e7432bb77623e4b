#!/usr/bin/env bash
# kvpress: PyramidKVPress has no pyramid where it keeps few tokens; it is SnapKVPress then, under its own name.
#
# Guess of a good engineer: PyramidKVPress gives lower layers more of the cache at any compression ratio, all the more where
# little is kept, which is what the method is for.
# Seen with kvpress 0.5.5, 28 layers and the press's own window (64) and beta (20): the top layer's budget is a twentieth of
# the mean. Where that is below the window, every layer gets the mean instead, without a warning. Above half of the cache
# dropped, a pyramid needs 1,280 kept tokens: 5,120 tokens of text at 0.75, 12,800 at 0.9.
#   4,096 tokens, 0.5 dropped     3994 in the first layer,   102 in the last one
#   4,096 tokens, 0.75 dropped    1024 in the first layer,  1024 in the last one
#   4,096 tokens, 0.9 dropped      410 in the first layer,   410 in the last one
#   16,384 tokens, 0.9 dropped    3195 in the first layer,    82 in the last one
# So RULER at 4,096 tokens compares SnapKV with itself from 0.75 on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python kvpress==0.5.5 transformers==5.2.0 torch==2.15.0
cat > run.py <<'PY'
from types import SimpleNamespace as Module
import torch
from kvpress import PyramidKVPress, SnapKVPress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

CONFIG = Module(num_hidden_layers=28)
for tokens, ratio in [(4096, 0.5), (4096, 0.75), (4096, 0.9), (16384, 0.9)]:
    press = PyramidKVPress(compression_ratio=ratio)
    print(tokens, ratio, *[press.get_layer_budget(Module(config=CONFIG, layer_idx=layer), tokens) for layer in (0, 27)])

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
                                     num_attention_heads=2, num_key_value_heads=1)).eval()
text = torch.randint(3, 64, (1, 1024))
caches = []
for press in [PyramidKVPress(0.75), SnapKVPress(0.75)]:
    cache = DynamicCache()
    with torch.no_grad(), press(model):
        model(text, past_key_values=cache)
    caches.append(cache)
print("same keys as SnapKVPress:", all(torch.equal(*(cache.layers[layer].keys for cache in caches)) for layer in range(4)))
PY
./venv/bin/python run.py 2>/dev/null | tee seen.txt
diff seen.txt - <<'TXT'
4096 0.5 3994 102
4096 0.75 1024 1024
4096 0.9 410 410
16384 0.9 3195 82
same keys as SnapKVPress: True
TXT
echo "as described"
