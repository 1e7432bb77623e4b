#!/usr/bin/env bash
# CTranslate2: Gemma 2 is converted without its caps, windows and scale, and other families lose fields as well, without a word.
#
# Guess of a good engineer: a family that the converter lists is computed as its configuration says, which is what sets Gemma 2
# apart from Gemma, and a value that is not supported is refused, as types of rotation are.
# Seen with ctranslate2 4.8.5 beside transformers 5.24.0 and torch 2.15.0, tiny random models, 96 tokens. Without the field,
# logits are those of transformers to 1e-4; with it they stay as they are to the last bit:
#   gemma2        attn_logit_softcapping=5     gemma2   final_logit_softcapping=5
#   gemma2        query_pre_attn_scalar=64     gemma2   sliding_window=16
#   gemma3_text   query_pre_attn_scalar=64     qwen3    sliding_window=16, use_sliding_window
#   llama         hidden_act=gelu              mistral  hidden_act=gelu
# Gemma 2's hidden_activation=gelu is applied, and rotations by YaRN are refused; about these fields nothing is printed. The 27B
# models of both Gemmas have scales of their own, 144 and 168 for heads of 128.
# This project reads these fields, or refuses other values (models/config_json.ts, models/architectures/).
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
WITHOUT = {  # fields that are neutral
    "gemma2": dict(attn_logit_softcapping=None, final_logit_softcapping=None, query_pre_attn_scalar=32),
    "gemma3_text": dict(query_pre_attn_scalar=32, layer_types=["sliding_attention", "full_attention"]),
    "mistral": dict(sliding_window=None),
}


@torch.no_grad()
def logits(family, field={}):
    torch.manual_seed(0)
    fields = {**WITHOUT.get(family, {}), **field}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        **fields)).eval()
    for weights in model.parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, std=1.5 / weights.shape[1]**0.5)
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    TransformersConverter("model").convert("converted", quantization="float32", force=True)
    generator = Generator("converted", compute_type="float32", intra_threads=1)
    found = generator.forward_batch([[names[index] for index in text]])
    return model(text[None]).logits[0].numpy(), np.array(found)[0]


for family, field in [
    ("gemma2", dict(attn_logit_softcapping=5.0)),
    ("gemma2", dict(final_logit_softcapping=5.0)),
    ("gemma2", dict(query_pre_attn_scalar=64)),
    ("gemma2", dict(sliding_window=16)),
    ("gemma2", dict(hidden_activation="gelu")),
    ("gemma3_text", dict(query_pre_attn_scalar=64)),
    ("qwen3", dict(sliding_window=16, use_sliding_window=True, max_window_layers=0)),
    ("llama", dict(hidden_act="gelu")),
    ("mistral", dict(hidden_act="gelu")),
]:
    (right, found), (right_with, found_with) = logits(family), logits(family, field)
    assert np.abs(found - right).max() < 1e-4 and np.abs(right_with - right).max() > 1e-4
    print(family, *field, "nothing" if np.array_equal(found, found_with) else "applied", flush=True)
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
gemma2 attn_logit_softcapping nothing
gemma2 final_logit_softcapping nothing
gemma2 query_pre_attn_scalar nothing
gemma2 sliding_window nothing
gemma2 hidden_activation applied
gemma3_text query_pre_attn_scalar nothing
qwen3 sliding_window use_sliding_window max_window_layers nothing
llama hidden_act nothing
mistral hidden_act nothing
TXT
echo "as described"
