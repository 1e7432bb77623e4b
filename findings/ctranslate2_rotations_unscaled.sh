#!/usr/bin/env bash
# CTranslate2: the scaling of Llama 3.1's and Gemma 3's rotations is converted without a word, and does nothing.
#
# Guess of a good engineer: a type of scaling that the converter does not know is refused, as YaRN's is, and one that it lists as
# supported is applied. `llama3` is listed.
# Seen with ctranslate2 4.8.5 beside transformers 5.24.0 and torch 2.15.0, tiny random models of one layer, 96 tokens, largest
# difference of the logits to transformers and to CTranslate2 without the field:
#                                                        transformers   without it
#   llama, linear, factor 4                              0              6.72         applied
#   llama, llama3, factor 8, originally 64 tokens        6.18           0            nothing
#   llama, llama3, factor 8, originally 8192 tokens      0.22           0            nothing
#   gemma3, global layers linear, factor 8, as in 4B     2.67           0            nothing
#   gemma3, base of the global layers 1e4                2.66           0            nothing
#   gemma2, base 1e3                                     4.36           0            nothing
#   llama, yarn                                          refused: not yet implemented
# What is written of `llama3` are two bounds of wavelengths; its factor stays 1 and its original length 0. So Llama 3.1 to 3.3
# rotate as Llama 3 does, which shows little in a short prompt. Gemma's bases are sought where transformers 4 had them.
# This project applies all of these (models/rope_json.ts), so its logits differ from such a model's in CTranslate2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python ctranslate2==4.8.5 transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
import numpy as np
import torch
from ctranslate2 import Generator
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)
VOCABULARY = 64
names = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(3, VOCABULARY))]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, "<unk>")),
    unk_token="<unk>", bos_token="<s>", eos_token="</s>")
text = torch.arange(96) * 7 % 61 + 3


@torch.no_grad()
def logits(family, rotation=None):
    torch.manual_seed(0)
    gemma = dict(query_pre_attn_scalar=32, attn_logit_softcapping=None, final_logit_softcapping=None,
                 layer_types=["full_attention"]) if family.startswith("gemma") else {}
    more = dict(rope_parameters=rotation) if rotation else {}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=131072, tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, **gemma, **more)).eval()
    for weights in model.parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, std=1.5 / weights.shape[1]**0.5)
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    right = model(text[None]).logits[0].numpy()
    try:
        TransformersConverter("model").convert("converted", quantization="float32", force=True)
    except NotImplementedError as error:
        return None, str(error).split(".")[0]
    generator = Generator("converted", compute_type="float32", intra_threads=1)
    return right, np.array(generator.forward_batch([[names[index] for index in text]]))[0]


def gemma3(**of_global):
    return dict(full_attention=dict(dict(rope_type="default", rope_theta=1e6), **of_global),
                sliding_attention=dict(rope_type="default", rope_theta=1e4))


llama3 = dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
for family, name, rotation in [
    ("llama", "linear", dict(rope_type="linear", rope_theta=1e4, factor=4.0)),
    ("llama", "llama3 64", dict(llama3, original_max_position_embeddings=64)),
    ("llama", "llama3 8192", dict(llama3, original_max_position_embeddings=8192)),
    ("gemma3_text", "linear", gemma3(rope_type="linear", factor=8.0)),
    ("gemma3_text", "base", gemma3(rope_theta=1e4)),
    ("gemma2", "base", dict(rope_type="default", rope_theta=1e3)),
    ("llama", "yarn", dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=32)),
]:
    right, found = logits(family, rotation)
    seen = [found] if right is None else [f"{np.abs(found - other).max():.2f}" for other in [right, logits(family)[1]]]
    print(family, name, *seen, flush=True)
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
llama linear 0.00 6.72
llama llama3 64 6.18 0.00
llama llama3 8192 0.22 0.00
gemma3_text linear 2.67 0.00
gemma3_text base 2.66 0.00
gemma2 base 4.36 0.00
llama yarn RoPE scaling type 'yarn' is not yet implemented
TXT
echo "as described"
