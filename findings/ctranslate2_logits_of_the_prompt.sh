#!/usr/bin/env bash
# CTranslate2: in a batch, the logits of a longer prompt begin with rows for its own prompt, which are not told apart.
#
# Guess of a good engineer: with `return_logits_vocab` and `include_prompt_in_result=False`, row i of `logits[0]` is what token i
# of `sequences_ids[0]` was chosen from, and a prompt gets the same rows alone and beside other prompts.
# Seen with ctranslate2 4.8.5 beside transformers 5.24.0 and torch 2.15.0, a tiny random Mistral, greedy, 6 new tokens:
#                             tokens   rows   row 0 is that of
#   40 tokens alone           6        6      new token 0
#   7 tokens alone            6        6      new token 0
#   both in a batch: 7        6        6      new token 0
#   both in a batch: 40       6        39     prompt token 7
# Texts and scores are the same. The batch is read at once up to its shortest prompt, which the documentation says; the rest of
# the longer ones is forced token by token, and each of these steps leaves a row. The last 6 rows are those of the new tokens.
# Divergences, as this project measures them, from a batch of unequal prompts would compare other tokens.
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
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)
torch.manual_seed(0)
VOCABULARY = 64
names = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(3, VOCABULARY))]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, "<unk>")),
    unk_token="<unk>", bos_token="<s>", eos_token="</s>")
model = MistralForCausalLM(MistralConfig(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, sliding_window=None, bos_token_id=1, eos_token_id=2, pad_token_id=0)).eval()
for weights in model.parameters():
    if weights.ndim == 2:
        torch.nn.init.normal_(weights, std=1.5 / weights.shape[1]**0.5)
model.save_pretrained("model")
tokenizer.save_pretrained("model")
TransformersConverter("model").convert("converted", quantization="float32")
generator = Generator("converted", compute_type="float32", intra_threads=1)
text = [7 * index % 61 + 3 for index in range(45)]


@torch.no_grad()
def generate(*prompts):
    results = generator.generate_batch([[names[index] for index in prompt] for prompt in prompts], max_length=6,
                                       include_prompt_in_result=False, return_logits_vocab=True, end_token=["<unk>"])
    for prompt, result in zip(prompts, results):
        new, rows = result.sequences_ids[0], np.array(result.logits[0]).reshape(-1, VOCABULARY)
        right = model(torch.tensor([prompt + new])).logits[0, :-1, 1:].numpy()  # row i is that of token i + 1
        places = [np.flatnonzero(np.abs(right - row[1:]).max(axis=1) < 1e-3) + 1 for row in rows]
        assert all(len(place) == 1 for place in places) and places[-1] == len(prompt) + len(new) - 1
        print(f"{len(prompt)} of {len(prompts)}: {len(new)} tokens, {len(rows)} rows, for {places[0][0]} to {places[-1][0]}")


generate(text[:40])
generate(text[5:12])
generate(text[:40], text[5:12])
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
40 of 1: 6 tokens, 6 rows, for 40 to 45
7 of 1: 6 tokens, 6 rows, for 7 to 12
40 of 2: 6 tokens, 39 rows, for 7 to 45
7 of 2: 6 tokens, 6 rows, for 7 to 12
TXT
echo "as described"
