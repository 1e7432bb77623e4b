"""Writes the expected token ids of tests/models/tokenizer/tokenizer_test.ts.

    python tools/goldens/tokenizer.py --models FOLDER --data FOLDER

Needs transformers, tokenizers and gguf (versions are recorded in the output). For each model file it
takes the tokenizer that transformers builds from GGUF metadata, puts back what that conversion leaves
out of the published tokenizer, and encodes

* lines written for this purpose (lines.json): stored as ids;
* 1,000 lines of the evaluation data: stored as file, line number and a hash of the ids, no text;
* the conversations of conversations.json, with the template of each model and with the other ones.
"""

import argparse
import hashlib
import json
import pathlib

import jinja2
import tokenizers
import transformers
from tokenizers import Tokenizer, normalizers, pre_tokenizers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tokenizer"
MODELS = {
    "qwen2": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "smollm": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
LINES = 1000
LONGEST_LINE = 8000  # characters


def published(kind, loaded):
    """The tokenizer of a GGUF file, as the model was published."""
    backend = loaded.backend_tokenizer
    if kind == "qwen2":
        # The published file normalizes to NFC; the conversion has no normalizer.
        backend.normalizer = normalizers.NFC()
    if kind == "smollm":
        # The published file isolates every digit first; the conversion has ByteLevel alone.
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return backend


def data_lines(folder):
    """Every k-th line of every data file, so that all kinds of text occur: (file, number, text)."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in {".raw", ".jsonl", ".json", ".txt", ".csv"})
    chosen = []
    for path in files:
        lines = path.read_bytes().decode("utf-8").split("\n")
        usable = [(i, line) for i, line in enumerate(lines) if line.strip() and len(line) <= LONGEST_LINE]
        step = max(1, len(usable) // 9)
        name = path.relative_to(folder).as_posix()
        chosen += [(name, i, line) for i, line in usable[::step]]
    step = len(chosen) / LINES
    return [chosen[int(i * step)] for i in range(LINES)] if step >= 1 else chosen


def render(loaded, template, conversation, prompt):
    """One conversation, or None where the template refuses it."""
    try:
        return loaded.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=prompt, **({"chat_template": template} if template else {})
        )
    except jinja2.TemplateError:
        return None


def chats(loaded):
    """Every conversation under every template, without and with the start of an answer."""
    given = json.loads((FIXTURES / "conversations.json").read_text())
    templates = {**{kind: (tokenizer, None) for kind, tokenizer in loaded.items()}}
    plain = loaded["smollm"]
    templates |= {name: (plain, template) for name, template in given["templates"].items()}
    return {
        name: [[render(tokenizer, template, c, prompt) for prompt in (False, True)] for c in given["conversations"]]
        for name, (tokenizer, template) in templates.items()
    }


def hash_ids(ids):
    """First 16 hexadecimal digits of the SHA-256 of the ids in decimal, joined by commas."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]


def write(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{").replace("],[", "],\n[")
    (FIXTURES / name).write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    own = json.loads((FIXTURES / "lines.json").read_text())
    from_data = data_lines(arguments.data)
    load = transformers.AutoTokenizer.from_pretrained
    loaded = {kind: load(str(arguments.models), gguf_file=file) for kind, file in MODELS.items()}
    backends = {kind: published(kind, tokenizer) for kind, tokenizer in loaded.items()}
    embedded = pathlib.Path(__file__).resolve().parents[2] / "data" / "embedded" / "large" / "tokenizer.json"
    backends["embedded"] = Tokenizer.from_file(str(embedded))
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    encode = {kind: (lambda text, b=backend: b.encode(text).ids) for kind, backend in backends.items()}
    write("own_lines.json", {"made_with": versions, "ids": {kind: [f(text) for text in own] for kind, f in encode.items()}})
    rows = [[name, number, *(hash_ids(f(text)) for f in encode.values())] for name, number, text in from_data]
    special = {kind: [tokenizer.bos_token, tokenizer.eos_token] for kind, tokenizer in loaded.items()}
    write("chats.json", {"made_with": versions, "special": special, "rendered": chats(loaded)})
    write("data_lines.json", {"made_with": versions, "columns": ["file", "line", *encode], "rows": rows})


if __name__ == "__main__":
    main()
