#!/usr/bin/env bash
# autorank: Tukey's intervals are of 5 % whatever alpha is and do not use the pairs; intervals of medians are 41 % too wide.
#
# Guess of a good engineer: `alpha` is "Significance level ... all results (incl. confidence intervals) together fulfill this
# confidence level", rows are paired as documented, and an interval of a median is that of the binomial's order statistics.
# Seen with autorank 1.3.0 beside scipy 1.17.1 and statsmodels 0.15.0. Three normal systems a, b, c over 20 tasks whose means
# differ by 1, with noise of 0.3 within a task and tasks spread by 10:
#   paired t-tests of a/b, b/c, a/c    p < 1e-9 each
#   autorank, repeated ANOVA           p = 2e-25
#   autorank's report after Tukey      no significant differences within a, b, and c
#   half an interval, by alpha         3.816 at 0.05, 3.816 at 0.001
# The intervals are those of statsmodels' tukeyhsd() for independent samples, without alpha. Of 100 values, a median's interval
# at 95 % reaches from the 37th to the 66th (99.6 %), where the 40th to the 61st cover 96.5 %: sqrt(n/2) stands for sqrt(n)/2.
# Evaluations of caches are such data: tasks differ far more than methods do within one. This project compares pairs
# (analysis/paired_tests.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python \
  autorank==1.3.0 scipy==1.17.1 numpy==2.4.6 pandas==3.1.1 statsmodels==0.15.0
cat > run.py <<'PY'
import contextlib
import io
import warnings
import numpy as np
import pandas as pd
from autorank import autorank, create_report
from scipy import stats
from statsmodels.stats.multicomp import MultiComparison

warnings.simplefilter("ignore")


def rank(data, alpha):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = autorank(data, alpha=alpha)
        create_report(result)
    return result, " ".join(printed.getvalue().split())


order = np.arange(20)
normal = stats.norm.ppf((order + 0.5) / 20)
data = pd.DataFrame({"a": 10 * normal, "b": 10 * normal + 0.3 * normal[order * 7 % 20] + 1,
                     "c": 10 * normal + 0.3 * normal[order * 3 % 20] + 2})
print("paired", *(stats.ttest_rel(data[one], data[other]).pvalue < 1e-9 for one, other in ["ab", "bc", "ac"]))
for alpha in [0.05, 0.001]:
    result, report = rank(data, alpha)
    half = result.rankdf.ci_upper["a"] - result.rankdf["mean"]["a"]
    group = "no significant differences within the following groups: a, b, and c." in report
    print(f"{alpha} {result.omnibus} {result.pvalue:.0e} {result.posthoc} {half:.3f}", group)
independent = MultiComparison(data.to_numpy().T.ravel(), np.repeat(list("abc"), 20))
for alpha in [0.05, 0.001]:
    tukey = independent.tukeyhsd(alpha)
    tukey._simultaneous_ci()
    print(f"independent {alpha} {tukey.halfwidths[0]:.3f}")

values = np.arange(1, 101.0)  # a value is its rank
result, _ = rank(pd.DataFrame({"one": values, "other": (values + 49) % 100 + 1}), 0.1)  # two intervals: 0.05 for each
lower, upper = int(result.rankdf.ci_lower["one"]), int(result.rankdf.ci_upper["one"])
exact = int(stats.binom.ppf(0.025, 100, 0.5)), int(stats.binom.ppf(0.975, 100, 0.5)) + 1
for name, (low, high) in [("median", (lower, upper)), ("binomial", exact)]:
    print(name, low, high, f"{stats.binom.cdf(high - 1, 100, 0.5) - stats.binom.cdf(low - 1, 100, 0.5):.3f}")
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
paired True True True
0.05 anova 2e-25 tukeyhsd 3.816 True
0.001 anova 2e-25 tukeyhsd 3.816 True
independent 0.05 3.816
independent 0.001 6.035
median 37 66 0.996
binomial 40 61 0.965
TXT
echo "as described"
