#!/usr/bin/env bash
# transformers, `generate` with a prompt that is cached: a question alone loses its first tokens, unless its mask is longer.
#
# Guess of a good engineer: after a prompt was read into a cache, `generate(**tokenizer(question), cache=...)` reads what comes
# after it, as forward does, or refuses, since it wants the tokens of the prompt, too; a mask of ones changes nothing.
# Seen with transformers 5.24.0 and torch 2.15.0, a tiny random model, 24 tokens of which the first are cached, greedy text:
#                                              none cached, or all 24 given   the question alone, as a tokenizer gives it
#   8 cached,  question of 16                  the same text                  that of a prompt without tokens 8 to 15
#   12 cached, question of 12                  the same text                  another text
#   16 cached, question of 8                   the same text                  "cannot reshape tensor of 0 elements"
#   any of them, with a mask of 24 ones        the same text                  the same text
# Where the mask is as long as the question, or is not given, the question is taken for the whole prompt and is cut by the
# length of the cache; where it is longer, the question is taken for what it is. A context that is shorter than what follows
# thus goes wrong without a warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                     num_attention_heads=2, num_key_value_heads=1, initializer_range=0.5)).eval()
text = torch.randint(3, 64, (1, 24))


def answer(tokens, mask=None, cached=0):
    cache = DynamicCache()
    if cached > 0:
        with torch.no_grad():
            model(text[:, :cached], cache=cache)
    try:
        found = model.generate(tokens, attention_mask=torch.ones(1, mask or tokens.shape[1], dtype=torch.long), cache=cache,
                               max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    except RuntimeError as error:
        return str(error)[:35]
    return found[0, tokens.shape[1]:].tolist()


right = answer(text)
for cached in [8, 12, 16]:
    question = text[:, cached:]
    alone = answer(question, cached=cached)
    cut = answer(torch.cat([text[:, :cached], text[:, 2 * cached:]], dim=1))
    assert answer(text, cached=cached) == answer(question, mask=24, cached=cached) == right
    print(cached, "right" if alone == right else "cut" if alone == cut else "other" if isinstance(alone, list) else alone)
PY
./venv/bin/python run.py 2> err.txt | tee seen.txt
cat err.txt >&2
diff seen.txt - <<'TXT'
8 cut
12 other
16 cannot reshape tensor of 0 elements
TXT
echo "as described"
