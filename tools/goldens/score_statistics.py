"""Writes tests/analysis/score_statistics_golden.json: intervals, paired tests, corrections and
predictors as SciPy, statsmodels and scikit-learn compute them, and the exact distribution of the
stratified bootstrap by listing all resamples.

Needs Python 3 with numpy, scipy, statsmodels and scikit-learn (the versions used are stored).
Run from the root of the repository: python3 tools/goldens/score_statistics.py
"""

import itertools
import json
from pathlib import Path

import numpy
import scipy
import sklearn
import statsmodels
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


def wilson(right, count, level):
    low, high = proportion_confint(right, count, alpha=1 - level, method="wilson")
    return {"right": right, "count": count, "level": level, "low": low, "high": high}


def mcnemar_case(wins, losses):
    result = mcnemar([[5, wins], [losses, 7]], exact=True)
    return {"wins": wins, "losses": losses, "p": float(result.pvalue)}


def sign_flip_case(differences):
    result = stats.permutation_test(
        (numpy.array(differences), numpy.zeros(len(differences))),
        lambda a, b, axis: (a - b).sum(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=numpy.inf, alternative="two-sided")
    return {"differences": list(differences), "p": float(result.pvalue)}


def stratified(groups, average):
    """All resamples of n - 1 items of each group; quantiles of the weighted mean."""
    count = sum(len(values) for values in groups.values())
    means = []
    for values in groups.values():
        weight = 1 / len(groups) if average == "groups" else len(values) / count
        draws = itertools.product(values, repeat=len(values) - 1)
        means.append([weight * sum(draw) / len(draw) for draw in draws])
    totals = numpy.array([sum(parts) for parts in itertools.product(*means)])
    share = [1 / len(groups) if average == "groups" else len(values) / count
             for values in groups.values()]
    variance = sum(w**2 * numpy.var(values, ddof=1) / len(values)
                   for w, values in zip(share, groups.values()))
    assert abs(totals.var() - variance) < 1e-12
    low, high = numpy.quantile(totals, [0.05, 0.95])
    value = sum(w * numpy.mean(values) for w, values in zip(share, groups.values()))
    return {"groups": groups, "average": average, "value": float(value), "low": float(low),
            "high": float(high), "deviation": float(totals.std())}


def prediction(generator):
    features = generator.normal(size=(30, 3)).round(4)
    features[:, 1] = features[:, 1] * 20 + 5
    targets = (features @ [1.5, -0.1, 0] + generator.normal(size=30)).round(4)
    items = [f"item{row // 5}" for row in range(30)]
    scaler = StandardScaler().fit(features)
    fit = Ridge(alpha=2.5).fit(scaler.transform(features), targets)
    coefficients = fit.coef_ / scaler.scale_
    intercept = fit.intercept_ - (coefficients * scaler.mean_).sum()
    held_out = cross_val_predict(make_pipeline(StandardScaler(), Ridge(alpha=2.5)), features,
                                 targets, groups=items, cv=LeaveOneGroupOut())
    return {"features": features.tolist(), "targets": targets.tolist(), "items": items,
            "penalty": 2.5, "intercept": float(intercept),
            "coefficients": coefficients.tolist(), "held_out": held_out.tolist()}


def correlation(first, second):
    return {"first": first, "second": second,
            "value": float(stats.spearmanr(first, second).statistic)}


def main():
    generator = numpy.random.default_rng(3)
    draw = lambda count: generator.random(count).round(4).tolist()
    groups = {"a": draw(3), "b": draw(4), "c": draw(2), "d": draw(2)}
    families = [[0.01, 0.04, 0.03, 0.005], [0.2, 0.001, 0.001, 0.9, 0.02], [0.5]]
    golden = {
        "made_with": {"numpy": numpy.__version__, "scipy": scipy.__version__,
                      "statsmodels": statsmodels.__version__,
                      "scikit-learn": sklearn.__version__},
        "wilson": [wilson(*case) for case in
                   [(0, 10, 0.95), (10, 10, 0.95), (3, 7, 0.9), (41, 60, 0.95), (1, 1319, 0.99)]],
        "mcnemar": [mcnemar_case(*case) for case in
                    [(0, 1), (0, 5), (1, 5), (6, 6), (3, 12), (40, 70), (700, 800)]],
        "sign_flips": [sign_flip_case(case) for case in
                       [(0.5, 0.1, -0.2, 0.3), (1, 1, 1, 1, -1), (0.1, 0.2, 0.3, -0.3, 0, 0),
                        tuple((generator.normal(size=11) + 0.6).round(3).tolist())]],
        "holm": [{"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()}
                 for p in families],
        "stratified": [stratified(groups, "items"), stratified(groups, "groups")],
        "rank_correlation": [correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]),
                             correlation([1, 2, 2, 3, 0], [7, 7, 1, 9, 2]),
                             correlation(draw(20), draw(20))],
        "prediction": prediction(generator),
    }
    path = Path("tests/analysis/score_statistics_golden.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
