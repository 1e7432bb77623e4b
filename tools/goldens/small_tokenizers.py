"""Writes small tokenizers of every GGUF kind and the ids they must give: tests/fixtures/tokenizer/small.json.

    python tools/goldens/small_tokenizers.py

Needs tokenizers and sentencepiece. The byte-level vocabulary is learned from the lines of lines.json
without cutting them first, so that merges cross every border that a pre-tokenizer may set; each kind then
cuts with the pattern of the published tokenizer.json. The SentencePiece model is encoded by SentencePiece.
"""

import io
import json
import pathlib
import tempfile

import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tokenizer"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def cut(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), BYTES])


# kind: pre-tokenizer, normalizer, ignore_merges
KINDS = {
    "gpt-2": (GPT2, None, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None, False),
    "qwen2": (cut(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")), normalizers.NFC(), False),
    "llama-bpe": (cut(LLAMA3), None, True),
    "tekken": (cut(TEKKEN), None, True),
}


def byte_level(lines):
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = BYTES
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"], show_progress=False
    )
    learner.train_from_iterator(lines * 3, trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(pair) for pair in model["merges"]]
    ids, parts = {}, {}
    for kind, (pre, normalizer, ignore) in KINDS.items():
        tokenizer = Tokenizer(models.BPE(model["vocab"], merges, ignore_merges=ignore))
        tokenizer.add_special_tokens(["<|end|>"])
        tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
        if normalizer:
            tokenizer.normalizer = normalizer
        ids[kind] = [tokenizer.encode(line).ids for line in lines]
        written = json.loads(tokenizer.to_str())
        parts[kind] = {name: written[name] for name in ("added_tokens", "normalizer", "pre_tokenizer", "decoder")}
    return {"tokens": tokens, "merges": [" ".join(pair) for pair in merges], "ids": ids, "files": parts}


def sentence_piece(lines):
    text = [line for line in lines if line.strip() and "\0" not in line and "\n" not in line]
    with tempfile.TemporaryDirectory() as folder:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text * 2), model_writer=model, model_type="bpe", vocab_size=700, byte_fallback=True,
            character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
            hard_vocab_limit=False, minloglevel=2,
        )
    loaded = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = range(loaded.get_piece_size())
    kind = lambda i: 2 if loaded.is_unknown(i) else 3 if loaded.is_control(i) else 6 if loaded.is_byte(i) else 1
    return {
        "tokens": [loaded.id_to_piece(i) for i in pieces],
        "scores": [loaded.get_score(i) for i in pieces],
        "types": [kind(i) for i in pieces],
        "lines": text,
        "ids": [loaded.encode(line) for line in text],
        "decoded": [loaded.decode(loaded.encode(line)) for line in text],
    }


def main():
    lines = json.loads((FIXTURES / "lines.json").read_text())
    lines = [line for line in lines if "<|" not in line and "<repo" not in line]
    versions = {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__}
    value = {"made_with": versions, "lines": lines, "byteLevel": byte_level(lines), "sentencePiece": sentence_piece(lines)}
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("],[", "],\n[")
    (FIXTURES / "small.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
