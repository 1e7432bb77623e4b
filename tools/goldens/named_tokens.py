"""Writes tests/fixtures/tokenizer/named_tokens.json: tokens that transformers shows to templates, and ids of declared tokens.

    python tools/goldens/named_tokens.py

Needs transformers. The tokenizer is that of the embedded pair. Each case says what tokenizer_config.json, config.json and
generation_config.json contain; where tokenizer_config.json leaves a role out, transformers goes by the class of the
tokenizer, which is no part of any file, so it always has a word for each.
"""

import itertools
import json
import pathlib
import tempfile

import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "tokenizer" / "named_tokens.json"
TOKENIZER = ROOT / "data" / "embedded" / "large" / "tokenizer.json"
TEMPLATE = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ bos_token is defined }}|{{ eos_token is defined }}|{{ pad_token is defined }}"
TEXT = "a <x><five> <|im_start|>b<new>"
FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
MARKERS = {str(at): {"content": text, "special": True, **FLAGS} for at, text in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
DECLARED = {
    "further": {"additional_special_tokens": ["<x>"]},
    "decoder": {"added_tokens_decoder": {**MARKERS, "765": {"content": "<five>", "special": True, **FLAGS}, "766": {"content": "<x>", "special": False, **FLAGS, "lstrip": True}}},
    "role": {"bos_token": "<new>", "additional_special_tokens": ["<x>"], "extra_special_tokens": ["<five>"]},
    "flags": {"added_tokens_decoder": {**MARKERS, "1": {**MARKERS["1"], "lstrip": True}}},
}


def load(tokenizer_config, config, generation):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "tokenizer.json").write_text(TOKENIZER.read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, **tokenizer_config}))
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", **config}))
        (folder / "generation_config.json").write_text(json.dumps(generation))
        return transformers.AutoTokenizer.from_pretrained(name)


def main():
    templates = []
    for says, has_config, has_generation in itertools.product([True, False], repeat=3):
        tokenizer_config = {"bos_token": "<|im_start|>" if says else None, "eos_token": {"content": "<|im_end|>", "__type": "AddedToken", "lstrip": False} if says else None, "pad_token": "<|im_end|>" if says else None}
        config = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0} if has_config else {}
        generation = {"bos_token_id": 1, "eos_token_id": [1, 0], "pad_token_id": 1} if has_generation else {}
        text = load(tokenizer_config, config, generation).apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
        templates.append({"files": [tokenizer_config, config, generation], "text": text})
    declared = []
    for name, tokenizer_config in DECLARED.items():
        tokenizer = load(tokenizer_config, {}, {})
        ids = tokenizer.encode(TEXT, add_special_tokens=False)
        declared.append({"name": name, "config": tokenizer_config, "ids": ids, "shown": tokenizer.decode(ids, skip_special_tokens=True)})
    value = {"made_with": {"transformers": transformers.__version__}, "template": TEMPLATE, "templates": templates, "text": TEXT, "declared": declared}
    FIXTURE.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
