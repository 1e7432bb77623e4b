#!/usr/bin/env bash
# tokenizer.json in JavaScript: @huggingface/tokenizers cuts texts at other places than the Python library, without an error.
#
# Guess of a good engineer: a component that it reads cuts where the original does, and what it cannot do is refused, as it
# refuses the pre-tokenizer UnicodeScripts by name; Whitespace, the simplest one, is right in any language.
# Seen with @huggingface/tokenizers 0.2.0 beside tokenizers 0.23.3, words as each of them cuts a text:
#   Whitespace                           crème brûlée   cr è me br û l é e    letters outside ASCII are no word characters
#   Split on \s, MergedWithPrevious      big cat        "big" " " "cat"       the behavior is ignored, where the original
#                                                                             gives "big " "cat"
#   Split on \s, MergedWithNext          big cat        "big" " " "cat"       likewise, for "big" " cat"
#   Split on \w+, Isolated, inverted     big cat        "big" "cat"           the text between matches is lost
#   Punctuation, MergedWithPrevious      it's           "it" "'" "s"          likewise ignored, for "it'" "s"
#   added token "big", single_word       bigger         "big" "ger"           found within a word
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @huggingface/tokenizers@0.2.0
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check tokenizers==0.23.3
cat > cases.py <<'PY'
"""Tokenizers with a vocabulary of words, so that every piece between two cuts is one token, and what the original gives."""
import json
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers as pre

PIECES = ["?", "crème", "brûlée", "cr", "è", "me", "br", "û", "l", "é", "e", "big", "big ", " ", " cat", "cat", "it", "it'",
          "'", "s", "bigger", "ger"]
CASES = [
    (pre.Whitespace(), "crème brûlée"),
    (pre.Split(Regex(r"\s"), "merged_with_previous"), "big cat"),
    (pre.Split(Regex(r"\s"), "merged_with_next"), "big cat"),
    (pre.Split(Regex(r"\w+"), "isolated", invert=True), "big cat"),
    (pre.Punctuation("merged_with_previous"), "it's"),
    (pre.Whitespace(), "bigger"),
]
result = []
for number, (component, text) in enumerate(CASES):
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="?", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = component
    if number == 5:
        tokenizer.add_tokens([AddedToken("big", single_word=True, normalized=False)])
    pieces = ["|".join(tokenizer.encode(text).tokens)]
    result.append({"json": json.loads(tokenizer.to_str()), "text": text, "pieces": pieces[0]})
json.dump(result, open("cases.json", "w"))
PY
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
for (const { json, text, pieces } of JSON.parse(readFileSync("cases.json"))) {
  const { tokens } = new Tokenizer(json, {}).encode(text);
  console.log(`${text}: ${pieces} / ${tokens.join("|")}`);
}
JS
./venv/bin/python cases.py
node run.mjs | tee output.txt
diff output.txt - <<'TEXT'
crème brûlée: crème|brûlée / cr|è|me|br|û|l|é|e
big cat: big |cat / big| |cat
big cat: big| cat / big| |cat
big cat: big| |cat / big|cat
it's: it'|s / it|'|s
bigger: bigger / big|ger
TEXT
echo "as described"
