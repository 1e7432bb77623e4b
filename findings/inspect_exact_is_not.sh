#!/usr/bin/env bash
# Inspect: exact scorers take 5 for -5 and 12 for 1/2, and the answer A is wrong where A is right.
#
# Guess of a good engineer: `match(location="exact")`, which "requires the output be exactly equal to the target", and `exact()`,
# which "normalizes the text", tell numbers of other signs apart, and give C to an answer that is the very text of the target.
# Seen with inspect-ai 0.3.285, C for CORRECT and I for INCORRECT:
#   target   answer   match exact   exact   f1
#   -5       5        C             C       1     punctuation is cut off at the ends; and words are split at hyphens
#   1/2      12       I             C       1     punctuation is left out within words
#   (-1,2)   12       I             C       1
#   <        <=       C             I       0     nothing is left of both
#   A        A        C             I       0     the letter is an article, and nothing is left of it
#   B        B        C             C       1
# So a model that is always right has some 3/4 in exact() and f1() on questions with four letters for answers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python inspect-ai==0.3.285 numpy==2.4.6
cat > run.py <<'PY'
import asyncio

from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Target, exact, f1, match
from inspect_ai.solver import TaskState


def grade(scorer, answer, target):
    state = TaskState(model="none/none", sample_id=1, epoch=1, input="", messages=[])
    state.output = ModelOutput.from_content("none/none", answer)
    return asyncio.run(scorer(state, Target(target))).value


for target, answer in [("-5", "5"), ("1/2", "12"), ("(-1,2)", "12"), ("<", "<="), ("A", "A"), ("B", "B")]:
    scorers = [match(location="exact"), exact(), f1()]
    print(target, answer, *[grade(scorer, answer, target) for scorer in scorers])
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
-5 5 C C 1.0
1/2 12 I C 1.0
(-1,2) 12 I C 1.0
< <= C I 0.0
A A C I 0.0
B B C C 1.0
TXT
echo "as described"
