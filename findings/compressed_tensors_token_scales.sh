#!/usr/bin/env bash
# compressed-tensors: with the strategy "token", tokens share one scale where the input has two axes, and in a key-value cache.
#
# Guess of a good engineer: a dynamic scale per token makes a token's rounding depend on that token alone, in whatever shape and
# however many at once tokens arrive.
# Seen with compressed-tensors 0.20.1, transformers 5.23.0 and torch 2.15.0, 8 bits. Input of a quantized torch.nn.Linear (the
# identity), four tokens of size 100, 10, 1 and 0.1, relative error of each:
#   one by one, or 1 x 4 x 64    0.006  0.005  0.005  0.006
#   4 x 64                       0.006  0.068  0.499  1.000
# Tokens reach experts of a mixture, and a head applied to chosen tokens, as tokens x width. The scales are those of the first two
# axes, whatever they are: of two axes none is left to reduce, which is taken for the whole tensor, and of keys (batch, heads,
# tokens, width) each head has one scale for all tokens of a pass. The keys of the first three tokens:
#   token by token               0.005  0.006  0.006
#   in one pass                  0.005  0.068  0.462
# So a batch has other errors than its texts alone, and a prompt read in chunks, as this project reads it, gives other keys than
# one read at once. (transformers 5.24: see compressed_tensors_kv_scheme_unapplied.sh.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python compressed-tensors==0.20.1 transformers==5.23.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)
torch.set_grad_enabled(False)
torch.manual_seed(0)
by_token = QuantizationArgs(num_bits=8, strategy="token", dynamic=True)


def errors(found, right):
    found, right = found.reshape(-1, right.shape[-1]).double(), right.reshape(-1, right.shape[-1]).double()
    return (found - right).norm(dim=1) / right.norm(dim=1)


def show(name, values):
    print(name, *(f"{value:.3f}" for value in values), flush=True)


layer = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False))
torch.nn.init.eye_(layer[0].weight)
group = QuantizationScheme(targets=["Linear"], input_activations=by_token)
apply_quantization_config(layer, QuantizationConfig(config_groups={"all": group}), show_progress=False)
tokens = torch.randn(4, 64) * torch.tensor([100, 10, 1, 0.1])[:, None]
scales = tokens.double().abs().amax(dim=1, keepdim=True) / 127.5
formula = (tokens.double() / scales).round().clamp(-128, 127) * scales
show("formula", errors(formula, tokens))
show("one by one", errors(torch.cat([layer(token[None]) for token in tokens]), tokens))
show("1 x 4 x 64", errors(layer(tokens[None]), tokens))
show("4 x 64", errors(layer(tokens), tokens))

model = LlamaForCausalLM(LlamaConfig(vocab_size=4, hidden_size=64, intermediate_size=96, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=1, head_dim=32)).eval()
model.model.layers[0].input_layernorm = torch.nn.Identity()  # keys are as large as their tokens


def keys(passes):
    cache = DynamicCache(config=model.config)
    for part in tokens[:3].split(passes):
        model(inputs_embeds=part[None], past_key_values=cache, use_cache=True)
    return cache.layers[0].keys


right = keys(3)
assert torch.allclose(right, keys(1), rtol=1e-4, atol=1e-6)
apply_quantization_config(model, QuantizationConfig(config_groups={}, kv_cache_scheme=by_token), show_progress=False)
show("keys, one by one", errors(keys(1), right))
show("keys, one pass", errors(keys(3), right))
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
formula 0.006 0.005 0.005 0.006
one by one 0.006 0.005 0.005 0.006
1 x 4 x 64 0.006 0.005 0.005 0.006
4 x 64 0.006 0.068 0.499 1.000
keys, one by one 0.005 0.006 0.006
keys, one pass 0.005 0.068 0.462
TXT
echo "as described"
