#!/usr/bin/env bash
# transformers, tokenizers of GGUF files: some of what `tokenizer.ggml.pre` stands for is left out, and other tokens come out.
#
# Guess of a good engineer: the name of the pre-tokenizer decides how text is cut, so tokens are those of the `tokenizer.json`
# that the model was published with; a name that is not known is refused or warned of.
# Seen with transformers 5.24.0 and gguf 0.19.0, beside tokenizers 0.23.3 with what the published files have, one vocabulary:
#   qwen2       NFC is missing                 e + combining accent   3 pieces of bytes for what is one token
#   llama-bpe   `ignore_merges` is missing     whole                  5 letters for a token that no merges lead to
#   smollm      not known: cut as GPT-2 does   x, two spaces, 1       spaces apart, where the model saw a pair of them
#   gpt-2       as published
# Any name that is not known, also one with a typing error, means GPT-2's pattern, without a warning.
# This project has all of these, and refuses other names (models/tokenizer/tokenizer_gguf.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 tokenizers==0.23.3 torch==2.15.0 gguf==0.19.0
cat > run.py <<'PY'
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, models, normalizers
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPELLING = bytes_to_unicode()
SPACE, ACCENTED = SPELLING[ord(" ")], [SPELLING[byte] for byte in "\u00e9".encode()]
TOKENS = [*SPELLING.values(), SPACE * 2, "".join(ACCENTED), "whole", "<end>"]
MERGES = [(SPACE, SPACE), tuple(ACCENTED)]
TEXTS = {"e + accent": "e\u0301", "whole": "whole", "x, spaces, 1": "x  1"}

GPT2 = pre.ByteLevel(add_prefix_space=False)
BYTES = pre.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def words(digits):
    return pre.Sequence([pre.Split(Regex(WORDS % digits), "isolated"), BYTES])


PUBLISHED = {
    "qwen2": dict(pre=words(r"\p{N}"), normalizer=normalizers.NFC()),
    "llama-bpe": dict(pre=words(r"\p{N}{1,3}"), ignore_merges=True),
    "smollm": dict(pre=pre.Sequence([pre.Digits(individual_digits=True), GPT2])),
    "gpt-2": dict(pre=GPT2),
}


def published(pre, normalizer=None, ignore_merges=False):
    vocabulary = {token: index for index, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, MERGES, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer


def from_gguf(name):
    writer = GGUFWriter("model.gguf", "llama")
    writer.add_name("tiny")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return PreTrainedTokenizerFast.from_pretrained(".", gguf_file="model.gguf")


for name, parts in PUBLISHED.items():
    found, right = from_gguf(name), published(**parts)
    pairs = [(label, found(text, add_special_tokens=False).input_ids, right.encode(text).ids)
             for label, text in TEXTS.items()]
    other = [f"{label} in {len(own)} tokens for {len(ids)}" for label, own, ids in pairs if own != ids]
    print(f"{name}: {'; '.join(other) or 'as published'}")
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
qwen2: e + accent in 3 tokens for 1
llama-bpe: whole in 5 tokens for 1
smollm: x, spaces, 1 in 4 tokens for 3
gpt-2: as published
TXT
echo "as described"
