"""Scores of rival policies from queries and keys, in numpy after the published formulas.

One query head per KV head. The cache holds some tokens of a text; the last queries see all of them up to their own. What
the product reads of this is the attention of these queries and the keys, so that both are written as well.

R-KV follows equations 2 to 7 of https://arxiv.org/abs/2505.24133, with the pooling after the mean, the softmax over the
tokens before the window, and the token that is spared where none is similar, as in the authors' code. SnapKV follows
https://arxiv.org/abs/2404.14469, listing 1, with a maximum for pooling.
"""

import json
import pathlib

import numpy

OUT = pathlib.Path(__file__).parents[2] / "tests/cache/scores/rival_scores_golden.json"
WINDOW, POOL, LAMBDA, SIMILAR = 3, 5, 0.1, 0.5


def softmax(logits):
    exponentials = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def pooled(scores):
    reach = POOL // 2
    padded = numpy.pad(scores, reach, constant_values=-numpy.inf)
    return numpy.array([padded[k : k + POOL].max() for k in range(len(scores))])


def visible(logits):
    """Hides from each query of the window the keys that come after it."""
    window, count = logits.shape
    order = numpy.arange(count)[None] <= (numpy.arange(window) + count - window)[:, None]
    return numpy.where(order, logits, -numpy.inf)


def snapkv(logits):
    return pooled(softmax(visible(logits))[:, :-WINDOW].sum(axis=0) / WINDOW)


def redundancy(keys):
    count = len(keys)
    unit = keys / numpy.linalg.norm(keys, axis=1, keepdims=True)
    cosine = unit @ unit.T
    numpy.fill_diagonal(cosine, 0)
    for row in cosine:
        similar = numpy.flatnonzero(row > SIMILAR)
        row[similar[-1] if len(similar) else 0] = 0
    return softmax(cosine.sum(axis=0) / count)


def r_kv(logits, keys):
    importance = pooled(softmax(logits[:, :-WINDOW]).mean(axis=0))
    return LAMBDA * importance - (1 - LAMBDA) * redundancy(keys)[:-WINDOW]


def case(random, held):
    size = 8
    # Few directions, so that some keys resemble each other and others do not.
    directions = random.normal(size=(4, size))
    keys = directions[random.integers(4, size=len(held))] + 0.7 * random.normal(size=(len(held), size))
    keys = keys.astype(numpy.float32).astype(numpy.float64)
    queries = 2 * random.normal(size=(WINDOW, size))
    logits = queries @ keys.T / numpy.sqrt(size)
    return {
        "held": [int(token) for token in held],
        "keys": keys.tolist(),
        "rows": softmax(visible(logits)).tolist(),
        "snapkv": snapkv(logits).tolist(),
        "rKv": r_kv(logits, keys).tolist(),
    }


def main():
    random = numpy.random.default_rng(24)
    some = numpy.sort(random.choice(37, size=24, replace=False))
    cases = [case(random, numpy.arange(30)), case(random, numpy.r_[some, 37:40])]
    options = {"window": WINDOW, "pool": POOL, "lambda": LAMBDA, "similar": SIMILAR}
    OUT.write_text(json.dumps({**options, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
