#!/usr/bin/env bash
# Inspect: a wrong number is right if its first five digits are, and where a number cannot be read, one before it is graded.
#
# Guess of a good engineer: `match(numeric=True)` compares numbers as numbers, so 123457 is wrong where 123456 is right; and an
# answer whose last number has a unit, a percent sign or a box around it is either read or graded as wrong.
# Seen with inspect-ai 0.3.285, answers that are graded as CORRECT (C) or INCORRECT (I):
#   target 123456    "123457"                         C   both are written with five significant digits: 1.2346e+05
#   target 1250300   "1,250,349"                      C
#   target 0.333333  "0.33333"                        C
#   target 15        "3 + 15 = \boxed{18}"            C   and I for 18
#   target 40        "20 of 40 are 50%"               C
#   target 3         "In 3 hours it goes 18km."       C   and I for 18
#   target 23        "The point is (2,3)."            C   commas are left out
# Its reference says that "numbers are normalized and compared", and that "60%" does not match 60. GSM8K's answers have up to
# seven digits. This project compares all of them, and reads numbers with signs and units around them (data/gsm8k.ts).
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
from inspect_ai.scorer import Target, match
from inspect_ai.solver import TaskState


def grade(answer, target):
    state = TaskState(model="none/none", sample_id=1, epoch=1, input="", messages=[])
    state.output = ModelOutput.from_content("none/none", answer)
    return asyncio.run(match(numeric=True)(state, Target(target))).value


for target, answer in [
    ("123456", "123457"),
    ("12345", "12346"),
    ("1250300", "1,250,349"),
    ("0.333333", "0.33333"),
    ("15", r"3 + 15 = \boxed{18}"),
    ("18", r"3 + 15 = \boxed{18}"),
    ("40", "20 of 40 are 50%"),
    ("3", "In 3 hours it goes 18km."),
    ("18", "In 3 hours it goes 18km."),
    ("23", "The point is (2,3)."),
]:
    print(grade(answer, target), target, answer)
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
C 123456 123457
I 12345 12346
C 1250300 1,250,349
C 0.333333 0.33333
C 15 3 + 15 = \boxed{18}
I 18 3 + 15 = \boxed{18}
C 40 20 of 40 are 50%
C 3 In 3 hours it goes 18km.
I 18 In 3 hours it goes 18km.
C 23 The point is (2,3).
TXT
echo "as described"
