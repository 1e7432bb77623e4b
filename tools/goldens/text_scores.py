"""Writes tests/fixtures/text_scores.json: token F1, ROUGE-L and edit similarity of made-up texts.

    python tools/goldens/text_scores.py

Needs rouge 1.0.1 and rapidfuzz. Token F1 is counted here with collections.Counter.
"""

import collections
import json
import pathlib
import random
import re
import string

import rapidfuzz.fuzz
import rouge

WORDS = "the a an cat dog sat ran on under mat Mat, tree. Tree and then; it's 12 3.5 x_y (so) end. . zoo".split()
# Words of other alphabets, and the white space on which Python and JavaScript differ.
OTHERS = [
    ["það er", "það"], ["Bahía", "bahí"], ["la théorie a", "théorie"], ["ein \u00e9the", "\u00e9the"],
    ["a\u0301 the\u0301", "a"], ["один a два", "один два"], ["東京 the 都", "東京 都"], ["x\u001cy\u0085z", "x y z"],
    ["one\ufefftwo", "one two"], ["one\u3000two\u2028three", "three one two"], ["an_a the_", "an_a"], ["ΣΑΣ the", "σας"],
    ["one.\u0085two \u001e", "two. one"], ["2\u00b2 a\u00b2", "2\u00b2"], ["\u0660 a\u0660", "a\u0660"],
]
FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "text_scores.json"


def words(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def token_f1(output, reference):
    common = sum((collections.Counter(words(output)) & collections.Counter(words(reference))).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(words(output)), common / len(words(reference))
    return 2 * precision * recall / (precision + recall)


def rouge_l(output, reference):
    try:
        return rouge.Rouge(metrics=["rouge-l"]).get_scores([output], [reference], avg=True)["rouge-l"]["f"]
    except ValueError:
        return 0.0


def main():
    draw = random.Random(7)
    rows = []
    for case in range(60):
        pair = [draw.choice([" ", " ", " ", "\n"]).join(draw.choices(WORDS, k=draw.randint(1, 25))) for _ in range(2)]
        if case % 5 == 0:
            pair[1] = pair[0] + " " + pair[1]
        rows.append([*pair, token_f1(*pair), rouge_l(*pair), rapidfuzz.fuzz.ratio(*pair) / 100])
    rows += [[*pair, token_f1(*pair), rouge_l(*pair), rapidfuzz.fuzz.ratio(*pair) / 100] for pair in OTHERS]
    FIXTURE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
