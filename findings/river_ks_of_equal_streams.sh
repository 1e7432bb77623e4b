#!/usr/bin/env bash
# river: the Kolmogorov-Smirnov statistic of two streams with the same values is not 0, and may be 1.
#
# Guess of a good engineer: stats.KolmogorovSmirnov is the largest distance of the two empirical distribution functions, as its
# formula says, so two streams of the same values have 0. Its own example is of streams with repeated values, and is right.
# Seen with river 0.26.1 beside scipy 1.17.1:
#                                                     river   scipy
#   1 1 1 ... and 1 1 1 ...                           1       0
#   1 2 3 1 2 3 ... and the same                      0.333   0
#   the example, 1 1 2 2 3 3 4 4 and 1 1 1 1 2 2 2 2  0.5     0.5
#   its streams exchanged                             0.75    0.5
#   0 or 1, 1000 throws of two coins                  0.506   0.031
#   normal values of one digit, and their permutation 0.050   0
#   normal values, others                             0.026   0.026
# Values are kept in one sorted tree, where equal ones of the first stream stand before those of the second, and the distance is
# read between them, too. That values must be unique is not in its documentation.
# Counts and positions, as in statistics of attention, are full of equal values: drift would be found where nothing changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python river==0.26.1 scipy==1.17.1 numpy==2.4.6
cat > run.py <<'PY'
import numpy as np
from river import stats
from scipy.stats import ks_2samp


def show(name, one, other):
    found = stats.KolmogorovSmirnov(statistic="ks")
    for pair in zip(one, other):
        found.update(*pair)
    values = np.concatenate([one, other])
    shares = [np.mean(np.less_equal.outer(stream, values), axis=0) for stream in [one, other]]
    formula = np.max(np.abs(shares[0] - shares[1]))
    assert abs(ks_2samp(one, other).statistic - formula) < 1e-12
    print(f"{name} {found.get():.3f} {formula:.3f}")


random = np.random.default_rng(0)
show("constant", [1] * 50, [1] * 50)
show("periodic", [1, 2, 3] * 30, [1, 2, 3] * 30)
first, second = [1, 1, 2, 2, 3, 3, 4, 4], [1, 1, 1, 1, 2, 2, 2, 2]
show("example", first, second)
show("exchanged", second, first)
show("coins", *random.integers(0, 2, size=(2, 1000)).tolist())
normal = random.normal(size=1000)
show("to one digit", normal.round(1), random.permutation(normal).round(1))
show("others", normal, random.normal(size=1000))
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
constant 1.000 0.000
periodic 0.333 0.000
example 0.500 0.500
exchanged 0.750 0.500
coins 0.506 0.031
to one digit 0.050 0.000
others 0.026 0.026
TXT
echo "as described"
