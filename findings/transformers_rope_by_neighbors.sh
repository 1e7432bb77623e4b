#!/usr/bin/env bash
# transformers, dynamic and longrope rotations: a prompt's logits depend on other prompts, earlier ones or in the same batch.
#
# Guess of a good engineer: in evaluation mode and float32, a prompt gives the logits that it gives alone, whatever the model
# read before and whatever else is in the batch, as `attention_mask` promises; its rotation follows from its own length.
# Seen with transformers 5.24.0 and torch 2.15.0, tiny random models stretched from 64 tokens, one prompt:
#   dynamic, 100 tokens, after a prompt of 200                 other logits: frequencies of 200 stay in the model,
#   dynamic, 100 tokens, after another prompt of 20            the first ones again: only a short prompt resets them
#   dynamic or longrope, 20 tokens beside a row of 200         other logits: the longest row decides for all
#   the same rows padded on the left, for `generate`           another text
#   linear, all of these                                       the same logits and text
# So an evaluation of such a model depends on the order of its questions and on the size of its batches, without a warning.
# This project fixes the rotation before anything is read, by the room of a session (models/forward/rotation.ts), which its
# evaluations do not let other questions change (evaluation/work.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 torch==2.15.0
cat > run.py <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

torch.set_num_threads(1)
SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2)
FACTORS = dict(short_factor=[1.0] * 16, long_factor=[1.0 + i for i in range(16)], original_max_position_embeddings=64)
LLAMA, PHI = (LlamaForCausalLM, LlamaConfig), (Phi3ForCausalLM, Phi3Config)
MODELS = {
    "linear": (*LLAMA, dict(max_position_embeddings=64), dict(factor=4.0)),
    "dynamic": (*LLAMA, dict(max_position_embeddings=64), dict(factor=4.0)),
    "longrope": (*PHI, dict(max_position_embeddings=256, original_max_position_embeddings=64), FACTORS),
}
random = torch.Generator().manual_seed(1)
medium, long, short = [torch.randint(3, 64, (1, length), generator=random) for length in (100, 200, 20)]


def tell(name, found, right):
    print(f"  {name}:", "same" if found.shape == right.shape and torch.allclose(found, right, atol=1e-3) else "other")


def beside_long(left):
    """The short prompt in a batch with the long one, padded on the left or on the right."""
    padding, ones = torch.zeros(1, 180, dtype=torch.long), torch.ones(1, 200, dtype=torch.long)
    row, own = [short, padding], [ones[:, :20], padding]
    if left:
        row, own = row[::-1], own[::-1]
    return dict(input_ids=torch.cat([torch.cat(row, 1), long]), attention_mask=torch.cat([torch.cat(own, 1), ones]))


for kind, (model_class, config_class, lengths, rope) in MODELS.items():
    torch.manual_seed(0)
    rope = dict(rope_type=kind, rope_theta=1e4, **rope)
    model = model_class(config_class(**SIZES, **lengths, rope_parameters=rope)).eval()
    print(kind)
    with torch.no_grad():
        right = model(medium).logits
        model(long)
        tell("after a longer prompt", model(medium).logits, right)
        model(short)
        tell("after a short prompt", model(medium).logits, right)
        tell("in a batch", model(**beside_long(left=False)).logits[0, :20], model(short).logits[0])
    options = dict(max_new_tokens=8, min_new_tokens=8, do_sample=False)
    text = model.generate(short, attention_mask=torch.ones_like(short), **options)[0, 20:]
    tell("text in a batch", model.generate(**beside_long(left=True), **options)[0, 200:], text)
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
linear
  after a longer prompt: same
  after a short prompt: same
  in a batch: same
  text in a batch: same
dynamic
  after a longer prompt: other
  after a short prompt: same
  in a batch: other
  text in a batch: other
longrope
  after a longer prompt: same
  after a short prompt: same
  in a batch: other
  text in a batch: other
TXT
echo "as described"
