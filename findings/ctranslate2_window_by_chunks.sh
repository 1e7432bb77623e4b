#!/usr/bin/env bash
# CTranslate2: a prompt longer than the sliding window is read in chunks, in which local layers see too much and global ones the
# oldest text.
#
# Guess of a good engineer: a token of a local layer sees the newest w tokens and one of a global layer all tokens before it,
# however long the prompt is; a model that cannot be run so is refused.
# Seen with ctranslate2 4.8.5 beside transformers 5.24.0 and torch 2.15.0, tiny random models, w = 16, largest difference of the
# logits after a prompt of that many tokens:
#                                           17       18     40     90
#   Mistral, three layers                   0        0.04   2.15   2.11
#   Gemma 3, a local and a global layer     0        0.13   0.41   0.59
#   Gemma 3, two global layers              0        0      0.24   0.65
# All of the prompt but its last token is cut into chunks of w. Beside its own chunk a token of a local layer sees all of the
# chunk before it, up to 2 w - 1 older tokens. From the third chunk on, the token with index i in its chunk sees the first
# w + i + 1 tokens of the text in a global layer, and not itself. transformers with these masks gives CTranslate2's logits to
# 1e-4. Only one layer is right, since the last token sees what it should. Gemma 3's window is 512 or 1024 tokens.
# This project reads prompts in chunks, too, but what a token sees is decided by its position (models/layer_windows.ts).
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
W, VOCABULARY, LOCAL, GLOBAL = 16, 64, "sliding_attention", "full_attention"
names = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(3, VOCABULARY))]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, "<unk>")),
    unk_token="<unk>", bos_token="<s>", eos_token="</s>")
text = torch.arange(90) * 7 % 61 + 3


def make(family, layers):
    torch.manual_seed(0)
    more = {} if family == "mistral" else dict(query_pre_attn_scalar=32, layer_types=layers)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=len(layers),
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, sliding_window=W, **more)).eval()
    for weights in model.parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, std=1.5 / weights.shape[1]**0.5)
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    TransformersConverter("model").convert("converted", quantization="float32", force=True)
    return model, Generator("converted", compute_type="float32", intra_threads=1)


def by_chunks(tokens):
    """What is seen, by kind of layer."""
    query, key = np.arange(tokens)[:, None], np.arange(tokens)[None]
    own, last = query // W * W, query == tokens - 1
    local = (key <= query) & (key > np.where(last, query - W, own - W - 1))
    whole = key <= np.where(last | (own == 0), query, query - own + W)
    return {kind: torch.where(torch.tensor(seen)[None, None], 0.0, -1e30) for kind, seen in [(LOCAL, local), (GLOBAL, whole)]}


@torch.no_grad()
def difference(model, generator, tokens, masks=None):
    found = generator.generate_batch([[names[index] for index in text[:tokens]]], max_length=1, return_logits_vocab=True,
                                     include_prompt_in_result=False)[0].logits[0][0]
    mask = masks[LOCAL] if masks and model.config.model_type == "mistral" else masks
    right = model(text[None, :tokens], attention_mask=mask).logits[0, -1]
    return np.abs(np.array(found).ravel() - right.numpy()).max()


for family, layers in [("mistral", [LOCAL] * 3), ("gemma3_text", [LOCAL, GLOBAL]), ("gemma3_text", [GLOBAL] * 2)]:
    pair = make(family, layers)
    lengths = [17, 18, 40, 90]
    as_seen = max(difference(*pair, tokens, by_chunks(tokens)) for tokens in lengths)
    print(family, len(set(layers)), *(f"{difference(*pair, tokens) + 0:.2f}" for tokens in lengths),
          "as seen" if as_seen < 1e-4 else f"not {as_seen}", flush=True)
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
mistral 1 0.00 0.04 2.15 2.11 as seen
gemma3_text 2 0.00 0.13 0.41 0.59 as seen
gemma3_text 1 0.00 0.00 0.24 0.65 as seen
TXT
echo "as described"
