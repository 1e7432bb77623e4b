#!/usr/bin/env bash
# transformers, FP8 checkpoints without an FP8 GPU: where blocks do not divide a matrix, weights get other blocks' scales.
#
# Guess of a good engineer: with `weight_block_size` [128, 128], weights of 192 rows have two rows of blocks, of 128 and 64,
# as quantizers and GPU kernels have it, and loading on a CPU or an older GPU, which decodes to full precision, gives the
# same weights; else it is refused.
# Seen with transformers 5.24.0 and torch 2.15.0: the rows of a block are those of the matrix over those of the grid, 192 / 2,
# whatever the configuration says. A tiny random model whose rows grow, loaded on a CPU:
#   hidden size 256, MLP of 384    the weights as quantized
#   hidden size 192, MLP of 384    32 rows of down_proj have the other block's scale, as have parts of all other matrices;
#                                  logits are off by some tens of percent, without a warning
#   hidden size 256, MLP of 320    refused, since 3 rows of blocks do not divide 320
# 960, the hidden size of SmolLM2-360M, has 8 rows of blocks and is of the second kind. This project takes the size of blocks
# from the configuration (models/safetensors/float8.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 torch==2.15.0 safetensors==0.8.0 \
  accelerate==1.15.0
cat > run.py <<'PY'
import json
import pathlib
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

BLOCK, LARGEST = 128, 448  # the largest number of the format
QUANTIZATION = dict(quant_method="fp8", activation_scheme="dynamic", weight_block_size=[BLOCK, BLOCK],
                    modules_to_not_convert=["lm_head"])
torch.set_num_threads(1)


def quantized(weight):
    """Floats of 8 bits, a scale for each block, and the weights that these stand for."""
    floats, right = torch.empty(weight.shape, dtype=torch.float8_e4m3fn), torch.empty(weight.shape)
    scales = torch.empty([-(-size // BLOCK) for size in weight.shape])
    for block in torch.cartesian_prod(*[torch.arange(size) for size in scales.shape]).tolist():
        place = tuple(slice(BLOCK * index, BLOCK * index + BLOCK) for index in block)
        scale = weight[place].abs().max() / LARGEST
        scales[tuple(block)], floats[place] = scale, (weight[place] / scale).to(torch.float8_e4m3fn)
        right[place] = floats[place].float() * scale
    return floats, scales, right


def tell(hidden, mlp):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=2, dtype="float32")
    model = LlamaForCausalLM(config).eval()
    stored, right = {}, {}
    for name, weight in model.state_dict().items():
        stored[name], right[name] = weight.clone(), weight
        if name.endswith("proj.weight"):
            grown = weight * torch.linspace(0.1, 2, len(weight))[:, None]
            stored[name], stored[f"{name}_scale_inv"], right[name] = quantized(grown)
    folder = pathlib.Path(f"{hidden}_{mlp}")
    folder.mkdir()
    save_file(stored, folder / "model.safetensors", metadata=dict(format="pt"))
    fields = dict(config.to_dict(), architectures=["LlamaForCausalLM"], quantization_config=QUANTIZATION)
    (folder / "config.json").write_text(json.dumps(fields))
    model.load_state_dict(right)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except RuntimeError:
        return "refused"
    down = "model.layers.0.mlp.down_proj.weight"
    wrong = (~torch.isclose(loaded.state_dict()[down], right[down], rtol=1e-2).all(1)).nonzero().flatten().tolist()
    with torch.no_grad():
        found, logits = [one(torch.arange(3, 40)[None]).logits for one in (loaded, model)]
    rows = f"{len(wrong)} wrong rows of down_proj, {wrong[0]} to {wrong[-1]}" if wrong else "down_proj as quantized"
    return f"{rows}; logits {'off by more than 10 %' if (found - logits).norm() > 0.1 * logits.norm() else 'right'}"


for hidden, mlp in [(256, 384), (192, 384), (256, 320)]:
    print(f"{hidden}, {mlp}: {tell(hidden, mlp)}")
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
256, 384: down_proj as quantized; logits right
192, 384: 32 wrong rows of down_proj, 96 to 127; logits off by more than 10 %
256, 320: refused
TXT
echo "as described"
