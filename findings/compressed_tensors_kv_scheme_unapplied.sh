#!/usr/bin/env bash
# compressed-tensors: under transformers 5.24 a scheme for the key-value cache is accepted and does nothing.
#
# Guess of a good engineer: a model whose configuration has a `kv_cache_scheme` of 4 bits and one scale keeps keys of 16 values, or
# the newest pair of releases, which their own requirements permit (transformers>=4.45.0), fails with an error.
# Seen with compressed-tensors 0.20.1 and torch 2.15.0, a tiny random Llama, 40 tokens, distinct values of the 1280 of the keys:
#                                                     transformers 5.23.0   5.24.0
#   not quantized                                     1280                  1280
#   a saved model with scales, by from_pretrained     16                    1280     the same logits as not quantized
#   apply_quantization_config, a dynamic scale        16                    1280     the same logits as not quantized
# A layer counts as attention only if its forward() has an argument named `past_key_value` or `past_key_values`; transformers 5.24
# names it `cache`. No layer is found, and that no layer was found is not said. Of a saved model the report of loading calls
# k_scale and v_scale unexpected, "can be ignored"; with dynamic scales nothing is printed.
# An evaluation of a quantized cache beside this project's eviction would so compare with the cache that is not quantized.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv uv
./uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
cat > run.py <<'PY'
import json
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, apply_quantization_config
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, __version__

torch.set_num_threads(1)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                                     num_attention_heads=2, num_key_value_heads=1, head_dim=32)).eval()
for weights in model.parameters():
    if weights.ndim == 2:
        torch.nn.init.normal_(weights, std=1.5 / weights.shape[1]**0.5)
model.save_pretrained("model")
tensors = load_file("model/model.safetensors")
for layer in range(2):
    for name in ["k_scale", "v_scale"]:
        tensors[f"model.layers.{layer}.self_attn.{name}"] = torch.tensor([0.5])
save_file(tensors, "model/model.safetensors", metadata={"format": "pt"})
with open("model/config.json") as file:
    config = json.load(file)
config["quantization_config"] = dict(
    quant_method="compressed-tensors", format="dense", quantization_status="frozen", config_groups={}, ignore=[],
    kv_cache_scheme=dict(num_bits=4, type="int", symmetric=True, strategy="tensor", dynamic=False))
with open("model/config.json", "w") as file:
    json.dump(config, file)


@torch.no_grad()
def run(model):
    cache = DynamicCache(config=model.config)
    logits = model(torch.arange(40)[None] * 7 % 61, past_key_values=cache, use_cache=True).logits
    keys = cache.layers[0].keys
    assert cache.get_seq_length() == 40 and keys.numel() == 1280
    return len(torch.unique(keys)), logits


values, right = run(model)
print(__version__, "not quantized", values)
values, logits = run(LlamaForCausalLM.from_pretrained("model", dtype=torch.float32))
print(__version__, "from_pretrained", values, torch.equal(logits, right))
scheme = QuantizationArgs(num_bits=4, strategy="tensor", dynamic=True)
apply_quantization_config(model, QuantizationConfig(config_groups={}, kv_cache_scheme=scheme), show_progress=False)
values, logits = run(model)
print(__version__, "apply", values, torch.equal(logits, right))
PY
for version in 5.23.0 5.24.0; do
  python3 -m venv $version
  ./uv/bin/uv pip install --quiet --python $version/bin/python compressed-tensors==0.20.1 transformers==$version torch==2.15.0
  ./$version/bin/python run.py 2> log.txt | tee -a seen.txt
done
diff seen.txt - <<'TXT'
5.23.0 not quantized 1280
5.23.0 from_pretrained 16 False
5.23.0 apply 16 False
5.24.0 not quantized 1280
5.24.0 from_pretrained 1280 True
5.24.0 apply 1280 True
TXT
echo "as described"
