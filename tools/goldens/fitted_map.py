"""Fits rows of attention by numpy: orthogonal matching pursuit with weights and a ridge.

    python tools/goldens/fitted_map.py

Writes tests/fixtures/fitted_map.json. Weights are solved by least squares on rows that are extended by the ridge,
in float64, and not from normal equations as the product does. Attention is that of softmax rows with a common sink.
"""

import json
import pathlib

import numpy as np

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "fitted_map.json"
SMALL, LARGE, FIRST, ROWS = 9, 3, 12, 5
CASES = [(4, 0.0), (4, 0.01), (6, 0.3), (9, 1.0)]


def attention(random, heads):
    """Softmax rows, [heads, rows] of growing lengths, concatenated; rounded so that JSON holds them exactly."""
    rows = []
    for row in range(ROWS):
        scores = random.normal(size=(heads, FIRST + row + 1)) * 1.5
        scores[:, 0] += 3
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows.append(weights / weights.sum(axis=1, keepdims=True))
    return np.round(np.concatenate(rows, axis=1) * 65536) / 65536


def weighed(small, large, lengths):
    """Rows times the roots of their weights, 1 / (mean attention + 0.1 / length of the row), where the mean is not tiny."""
    lengths = np.concatenate([np.full(length, length) for length in lengths])
    mean = small.mean(axis=0)
    counts = mean >= 0.2 / lengths
    roots = np.sqrt(1 / (mean + 0.1 / lengths))[counts]
    return small[:, counts] * roots, large[:, counts] * roots


def fit(small, target, heads, ridge):
    chosen, weights = [], np.zeros(0)
    for _ in range(heads):
        rest = target - weights @ small[chosen] if chosen else target
        cosines = np.abs(small @ rest) / np.linalg.norm(small, axis=1)
        cosines[chosen] = -1
        chosen.append(int(cosines.argmax()))
        rows = small[chosen]
        strength = np.sqrt(ridge * (rows**2).sum(axis=1).mean())
        extended = np.concatenate([rows.T, strength * np.eye(len(chosen))])
        right = np.concatenate([target, np.zeros(len(chosen))])
        weights = np.linalg.lstsq(extended, right, rcond=None)[0]
    return chosen, weights


def predict(small, lengths, chosen, weights):
    row = np.maximum(0, weights @ small[chosen])
    start, scaled = 0, []
    for length in lengths:
        part = row[start:start + length]
        scaled.extend(part / part.sum())
        start += length
    return scaled


def main():
    random = np.random.default_rng(32)
    small, large = attention(random, SMALL), attention(random, LARGE)
    large[1] = 0.5 * small[2] + 0.25 * small[5] + 0.25 * small[7]
    lengths = [FIRST + row + 1 for row in range(ROWS)]
    cases = []
    for heads, ridge in CASES:
        rows, targets = weighed(small, large, lengths)
        fits = [fit(rows, target, heads, ridge) for target in targets]
        cases.append({
            "heads": heads,
            "ridge": ridge,
            "sources": [chosen for chosen, _ in fits],
            "weights": [weights.tolist() for _, weights in fits],
            "predicted": [predict(small, lengths, *one) for one in fits],
        })
    content = {"lengths": lengths, "small": small.tolist(), "large": large.tolist(), "cases": cases}
    FIXTURE.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
