#!/usr/bin/env bash
# math-verify: numbers of other magnitudes, signs and bases are equal, since what is not read of a number is left out.
#
# Guess of a good engineer: a grader of mathematics tells numbers apart, "1.5e3" is 1500 as in every programming language, and
# what cannot be read is no answer.
# Seen with math-verify 0.9.0 and its defaults, answers that are equal, and why:
#   1.5e3                   1.5e-9                  the exponent is left out: both are 1.5, and 1500 is not equal
#   $6.63\times10^{-34}$    $1.1\times10^{-34}$     decimals are compared to six places, however small,
#   $1.6\times10^{-19}$     $-1.6\times10^{-19}$    so signs are lost, too
#   $0.\overline{3}$        $0.\overline{7}$        the repeating part is left out: both are 0, and 1/3 is not equal
#   $1011_2$                $1011_3$                the base is left out: both are 1011, and 11 is not equal
# Nothing says that something was left out. This project grades GSM8K without it (data/gsm8k.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check math-verify==0.9.0
cat > run.py <<'PY'
from math_verify import parse, verify

for right, answer in [
    ("1.5e3", "1.5e-9"),
    ("1.5e3", "1500"),
    (r"$6.63\times10^{-34}$", r"$1.1\times10^{-34}$"),
    (r"$1.6\times10^{-19}$", r"$-1.6\times10^{-19}$"),
    (r"$0.\overline{3}$", r"$0.\overline{7}$"),
    (r"$0.\overline{3}$", r"$\frac{1}{3}$"),
    ("$1011_2$", "$1011_3$"),
    ("$1011_2$", "$11$"),
]:
    print(verify(parse(right), parse(answer)), right, answer)
PY
./venv/bin/python run.py 2>/dev/null | tee seen.txt
diff seen.txt - <<'TXT'
True 1.5e3 1.5e-9
False 1.5e3 1500
True $6.63\times10^{-34}$ $1.1\times10^{-34}$
True $1.6\times10^{-19}$ $-1.6\times10^{-19}$
True $0.\overline{3}$ $0.\overline{7}$
False $0.\overline{3}$ $\frac{1}{3}$
True $1011_2$ $1011_3$
False $1011_2$ $11$
TXT
echo "as described"
