#!/usr/bin/env bash
# mlxtend: the p-value of proportion_difference depends on which of the two is named first.
#
# Guess of a good engineer: the test for a difference of two accuracies has the same p-value in either order, and one below 0.05
# where |z| > 1.96, as its user guide derives ("we can reject ... at an alpha=0.05 level if z is greater than 1.96").
# Seen with mlxtend 0.25.0 beside scipy 1.17.1, n = 100:
#                    z        p         p of two sides
#   0.84, 0.92       -1.754   0.040     0.079     the guide's own example, called significant
#   0.92, 0.84        1.754   0.960     0.079
#   0.90, 0.50        6.860   1.000     7e-12
#   0.50, 0.90       -6.860   3e-12     7e-12
# What is returned is the distribution function at z: a p of one side, "less", which neither the docstring nor the guide says. A
# clearly better first model has p = 1, and a check of p < 0.05 is at 10 % for models in the order worse, better.
# For accuracies over the same items this project uses McNemar's test with both sides (analysis/paired_tests.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python mlxtend==0.25.0 scipy==1.17.1 numpy==2.4.6
cat > run.py <<'PY'
from math import sqrt
from mlxtend.evaluate import proportion_difference
from scipy.stats import norm

for first, second in [(0.84, 0.92), (0.92, 0.84), (0.9, 0.5), (0.5, 0.9)]:
    z, p = proportion_difference(first, second, n_1=100)
    right = (first - second) / sqrt((first * (1 - first) + second * (1 - second)) / 100)
    assert abs(z - right) < 1e-9
    print(f"{first} {second} {z:.3f} {p:.2g} {2 * norm.sf(abs(z)):.2g}")
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
0.84 0.92 -1.754 0.04 0.079
0.92 0.84 1.754 0.96 0.079
0.9 0.5 6.860 1 6.9e-12
0.5 0.9 -6.860 3.4e-12 6.9e-12
TXT
echo "as described"
