"""Writes tests/fixtures/tokenizer/parts.json: ids of texts under tokenizers that differ in one part each.

    python tools/goldens/tokenizer_parts.py

Needs tokenizers. Each case is a tokenizer.json, as far as it differs from the empty one, and the ids of every text, with
special tokens around it; null where the library refuses the text. Cases of normalizers and pre-tokenizers have every word that
comes of them as one token, so that each border shows.
"""

import json
import pathlib

import tokenizers
from tokenizers import Tokenizer

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tokenizer" / "parts.json"
TEXTS = [
    "food foo bar foobar", "a  b", " a b ", "stopword stop stops 3stop stop", "x, y... (z)!", "12.5 a1b22c", "", " ", "<s>a</s> b<x> c",
    "\u0085a\u0085b\ufeffc\ufeff", "\u3000a\u2028b\u00a0 c\u200b", "\u039f\u0394\u039f\u03a3 \u03a3\u03a3", "Caf\u00e9 e\u0301 \u0130I \u00c5",
    "\u4e2d\u6587abc \U00020000\U0002b820\u3042", "$& $1 $$ a.b|c", "\u00bd\u0663\u2167 \u00b2", "a\u0301\u0940b _c-d", "\U0001f99c\U0001f468\u200d\U0001f469 \u0378\u0001\ufffd",
    "foo  <x>  foo", "A-B--C", "ab abab aab", "Hello\tw\u00f6rld\n\n x",
]
EMPTY = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
META = "\u2581"


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
NORMALIZERS = {
    "Strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "Strip left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "Strip right": {"type": "Strip", "strip_left": False, "strip_right": True},
    "StripAccents": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
    "StripAccents alone": {"type": "StripAccents"},
    "Lowercase": {"type": "Lowercase"},
    "Prepend": {"type": "Prepend", "prepend": META},
    "Replace": {"type": "Replace", "pattern": {"String": "a"}, "content": "$&$1"},
    "Replace spaces": {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
    "Replace all or nothing": {"type": "Replace", "pattern": {"Regex": "\\p{Lu}?\\p{Ll}*"}, "content": "-"},
    "Replace nothing": {"type": "Replace", "pattern": {"String": "."}, "content": ""},
    **{form: {"type": form} for form in ["NFC", "NFD", "NFKC", "NFKD"]},
    **{
        f"Bert {clean} {chinese} {accents} {lower}": {
            "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower,
        }
        for clean, chinese, accents, lower in [(True, True, None, True), (True, False, False, False), (False, True, True, False), (True, True, None, False)]
    },
}
PRE_TOKENIZERS = {
    "Whitespace": {"type": "Whitespace"},
    "WhitespaceSplit": {"type": "WhitespaceSplit"},
    "BertPreTokenizer": {"type": "BertPreTokenizer"},
    **{f"Punctuation {b}": {"type": "Punctuation", "behavior": b} for b in BEHAVIORS},
    "Digits": {"type": "Digits", "individual_digits": False},
    "Digits alone": {"type": "Digits", "individual_digits": True},
    "CharDelimiterSplit": {"type": "CharDelimiterSplit", "delimiter": "-"},
    "FixedLength": {"type": "FixedLength", "length": 3},
    **{f"ByteLevel {p} {r}": {"type": "ByteLevel", "add_prefix_space": p, "trim_offsets": True, "use_regex": r} for p in (True, False) for r in (True, False)},
    **{f"Metaspace {s} {c}": {"type": "Metaspace", "replacement": META, "prepend_scheme": s, "split": c} for s in ["always", "first", "never"] for c in (True, False)},
    **{f"Split {k} {b} {i}": split(p, b, i) for k, p in [("text", {"String": "a"}), ("dot", {"String": "."}), ("regex", {"Regex": "\\p{L}+|\\d"}), ("space", {"Regex": "\\s+"}), ("empty", {"Regex": "o*"}), ("border", {"Regex": "\\b"})] for b in BEHAVIORS for i in (False, True)},
    "Sequence": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True}, split({"Regex": "[aeiou]"}, "MergedWithNext")]},
    "Metaspace after": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "Metaspace", "replacement": META, "prepend_scheme": "first", "split": True}]},
}


def words_of(part, value):
    """Every word that a normalizer or pre-tokenizer makes of the texts, as a vocabulary."""
    library = Tokenizer.from_str(json.dumps({**EMPTY, part: value, "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}))
    words = {"?": 0}
    for text in TEXTS:
        if part == "normalizer":
            words.setdefault(library.normalizer.normalize_str(text), len(words))
        else:
            for word, _ in library.pre_tokenizer.pre_tokenize_str(text):
                words.setdefault(word, len(words))
    return words


def added(id, content, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def bpe(vocab, merges, **more):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {piece: at for at, piece in enumerate(vocab)}, "merges": merges, **more}


LETTERS = sorted(set("".join(TEXTS[:9] + TEXTS[18:21])))
SPACES = {"type": "WhitespaceSplit"}
LOWER = {"type": "Lowercase"}


def cases():
    for name, value in NORMALIZERS.items():
        yield name, {"normalizer": value, "model": {"type": "WordLevel", "vocab": words_of("normalizer", value), "unk_token": "?"}}
    for name, value in PRE_TOKENIZERS.items():
        yield name, {"pre_tokenizer": value, "model": {"type": "WordLevel", "vocab": words_of("pre_tokenizer", value), "unk_token": "?"}}
    n = len(LETTERS)
    for flag in ["none", "single_word", "lstrip", "rstrip", "both", "special"]:
        flags = {"lstrip": True, "rstrip": True} if flag == "both" else {} if flag == "none" else {flag: True}
        tokens = [added(n, "foo", **flags), added(n + 1, "stop", **flags), added(n + 2, "<x>", **flags), added(n + 3, "stopw", **flags), added(n + 4, "</s>", **flags)]
        yield f"added {flag}", {"added_tokens": tokens, "model": bpe(LETTERS, [], unk_token="?" if "?" in LETTERS else LETTERS[0])}
    yield "added normalized", {"normalizer": LOWER, "added_tokens": [added(n, "FOO", normalized=True), added(n + 1, "Stop", normalized=False), added(n + 2, "<X>", normalized=True, lstrip=True, rstrip=True)], "model": bpe(LETTERS, [], unk_token=LETTERS[0])}
    yield "added with Metaspace", {"added_tokens": [added(n, "<x>", special=True), added(n + 1, "<s>", special=True)], "pre_tokenizer": PRE_TOKENIZERS["Metaspace first True"], "model": bpe([*LETTERS, *["<"] * 0, "\u2581"][: n] + ["<x>", "<s>", META], [], unk_token=LETTERS[0])}
    yield "added with Prepend", {"added_tokens": [added(n, "<x>", special=True)], "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": META}, {"type": "Replace", "pattern": {"String": " "}, "content": META}]}, "model": bpe([*LETTERS, "<x>", META], [], unk_token=LETTERS[0])}
    pairs = [["a", "b"], ["ab", "ab"], ["a", "ab"], ["o", "o"], ["f", "oo"], ["foo", "b"]]
    vocab = [*LETTERS, *dict.fromkeys(left + right for left, right in pairs)]
    yield "BPE without unknown", {"pre_tokenizer": SPACES, "model": bpe(vocab, pairs)}
    yield "BPE", {"pre_tokenizer": SPACES, "model": bpe(["<unk>", *vocab], pairs, unk_token="<unk>")}
    yield "BPE fused", {"pre_tokenizer": SPACES, "model": bpe(["<unk>", *vocab], pairs, unk_token="<unk>", fuse_unk=True)}
    yield "BPE fused, no words", {"model": bpe(["<unk>", *vocab], pairs, unk_token="<unk>", fuse_unk=True)}
    some = [f"<0x{byte:02X}>" for byte in range(256)]
    yield "BPE bytes", {"model": bpe(["<unk>", *vocab, *some], pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)}
    yield "BPE some bytes", {"model": bpe(["<unk>", *vocab, *some[:200]], pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)}
    yield "BPE ignoring merges", {"pre_tokenizer": SPACES, "model": bpe([*vocab, "foobar", "stops"], pairs, ignore_merges=True)}
    prefixed = [*LETTERS, *("##" + letter for letter in LETTERS)]
    inner = [["a", "##b"], ["##o", "##o"], ["f", "##oo"], ["ab", "##a"]]
    yield "BPE with prefix", {"pre_tokenizer": SPACES, "model": bpe([*prefixed, "ab", "##oo", "foo", "aba"], inner, unk_token=LETTERS[0], continuing_subword_prefix="##")}
    ended = [*LETTERS, *(letter + "</w>" for letter in LETTERS)]
    yield "BPE with suffix", {"pre_tokenizer": SPACES, "model": bpe([*ended, "ab</w>", "oo"], [["a", "b</w>"], ["o", "o"]], unk_token=LETTERS[0], end_of_word_suffix="</w>")}
    levels = {"?": 0, "foo": 1, "a": 2, "b": 3}
    yield "WordLevel", {"pre_tokenizer": SPACES, "model": {"type": "WordLevel", "vocab": levels, "unk_token": "?"}}
    yield "WordLevel without unknown", {"pre_tokenizer": SPACES, "model": {"type": "WordLevel", "vocab": levels, "unk_token": "!"}}
    pieces = ["[UNK]", *LETTERS, "foo", "##d", "##bar", "##s", "stop", "##w", "##o", "##r"]
    yield "WordPiece", {"pre_tokenizer": {"type": "BertPreTokenizer"}, "model": {"type": "WordPiece", "vocab": {p: i for i, p in enumerate(pieces)}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 6}}
    scores = [["<unk>", 0.0], *([letter, -5.0 - at / 100] for at, letter in enumerate(LETTERS)), ["foo", -3.0], ["ab", -4.5], ["stop", -6.0], ["oo", -2.0]]
    yield "Unigram", {"pre_tokenizer": SPACES, "model": {"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": False}}
    yield "Unigram without words", {"model": {"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": False}}
    yield "Unigram bytes", {"model": {"type": "Unigram", "unk_id": 0, "vocab": [*scores, *([byte, -20.0] for byte in some)], "byte_fallback": True}}
    around = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "E", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"B": {"id": "B", "ids": [1, 2], "tokens": ["foo", "a"]}, "E": {"id": "E", "ids": [3], "tokens": ["b"]}}}
    level = {"type": "WordLevel", "vocab": levels, "unk_token": "?"}
    yield "TemplateProcessing", {"pre_tokenizer": SPACES, "model": level, "post_processor": around}
    yield "BertProcessing", {"pre_tokenizer": SPACES, "model": level, "post_processor": {"type": "BertProcessing", "sep": ["b", 3], "cls": ["foo", 1]}}
    yield "Sequence of processors", {"pre_tokenizer": SPACES, "model": level, "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, around]}}


def ids_of(library, text):
    try:
        return library.encode(text).ids
    except Exception:  # the library raises plain exceptions
        return None


def main():
    rows = []
    for name, value in cases():
        library = Tokenizer.from_str(json.dumps({**EMPTY, **value}))
        rows.append({"name": name, "json": value, "ids": [ids_of(library, text) for text in TEXTS]})
    head = json.dumps({"made_with": {"tokenizers": tokenizers.__version__}, "texts": TEXTS})[:-1]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    FIXTURE.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
