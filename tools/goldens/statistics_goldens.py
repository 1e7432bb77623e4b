"""Writes tests/core/statistics_golden.json: quantiles, normal and binomial probabilities and
bootstrap intervals as NumPy and SciPy compute them.

Needs Python 3 with numpy and scipy (the versions used are stored).
Run from the root of the repository: python3 tools/goldens/statistics_goldens.py
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy
import scipy
from scipy import stats


def interval(data, method):
    generator = numpy.random.default_rng(7)
    drawn = generator.integers(0, len(data), size=(200, len(data)))
    estimates = data[drawn].mean(axis=1).round(6)
    given = SimpleNamespace(bootstrap_distribution=estimates)
    result = stats.bootstrap((data,), numpy.mean, n_resamples=0, method=method, vectorized=True,
                             bootstrap_result=given)
    low, high = result.confidence_interval
    jackknife = [numpy.delete(data, i).mean() for i in range(len(data))]
    return {"data": data.tolist(), "method": method, "value": data.mean(),
            "estimates": estimates.tolist(), "jackknife": jackknife,
            "low": low, "high": high}


def main():
    generator = numpy.random.default_rng(1)
    values = generator.normal(size=11).round(6)
    skewed = generator.exponential(size=12).round(6)
    even = generator.normal(size=9).round(6)
    golden = {
        "made_with": {"numpy": numpy.__version__, "scipy": scipy.__version__},
        "quantiles": {"values": values.tolist(),
                      "fractions": [0, 0.025, 0.3, 0.5, 0.77, 1],
                      "expected": numpy.quantile(values, [0, 0.025, 0.3, 0.5, 0.77, 1]).tolist()},
        "normal": [{"value": x, "probability": stats.norm.cdf(x)}
                   for x in [-6, -3.2, -1.96, -0.5, 0, 0.1, 1, 2.575, 4.5]],
        "bootstrap": [interval(skewed, "BCa"), interval(skewed, "percentile"),
                      interval(even, "BCa")],
    }
    path = Path("tests/core/statistics_golden.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
