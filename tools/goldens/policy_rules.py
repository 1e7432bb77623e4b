"""What each cache policy keeps, in numpy, after the published methods: budgets, matching, rankings.

Tokens are positions. A tier string has one letter a token: c critical, r recent, m marginal (value
only), a dot for what is not kept. Scores are [kv heads, tokens].
"""

import fractions
import math

import numpy

FEWEST = 100  # tokens below which nothing is matched or evicted
WINDOW = 200  # leading tokens used for matching
TOLERANCE = 1e-4  # of the largest score; closer ones count as near ties


def floor_of(share, count):
    """Exact floor of a decimal share of a count."""
    return math.floor(fractions.Fraction(str(share)) * count)


def small_kv_counts(ratio, n):
    """Critical, recent and marginal counts in half-entries of a full budget."""
    half = floor_of(2 * fractions.Fraction(str(ratio)), n)
    demand = -(-n // 20)
    if half < 4:
        return 0, 1, 0
    if half >= 2 * n:
        critical = round(2 * n / 3)
        return critical, n - critical, 0
    critical, recent = half // 4, half // 8
    marginal = half - 2 * critical - 2 * recent
    if critical < demand:
        least = min(4, max(1, half // 4))
        critical = min(demand, half // 2 - least)
        rest = half - 2 * critical
        recent = max(least, rest // 4)
        marginal = rest - 2 * recent
    if critical + recent + marginal > n:
        marginal = 2 * n - half
        critical = round(2 * (half - n) / 3)
        recent = half - n - critical
    if recent == 0:
        recent = 1
        if marginal >= 2:
            marginal -= 2
        else:
            critical -= 1
    return critical, recent, marginal


def without_marginal(counts):
    """The same cost without marginal tokens: what they cost goes to critical and recent 2 : 1."""
    critical, recent, marginal = counts
    entries = marginal // 2
    added = round(2 * entries / 3)
    return critical + added, recent + entries - added, 0


def pyramid_ratios(ratio, layers, beta=0.43):
    """Budget of each layer: a cosine around the mean, clipped to 1, the excess spread by scaling."""
    if ratio >= 1:
        return [1.0] * layers
    shares = [
        ratio * (1 + beta * math.cos(math.pi * l / max(1, layers - 1))) for l in range(layers)
    ]
    while max(shares) > 1 + 1e-12:
        full = [min(1.0, s) for s in shares]
        free = [l for l in range(layers) if full[l] < 1]
        missing = ratio * layers - sum(full)
        scale = 1 + missing / sum(full[l] for l in free)
        shares = [s * scale if l in free else 1.0 for l, s in enumerate(full)]
    return shares


def ranked(scores, candidates):
    """Candidates by falling score, earlier tokens first."""
    return sorted(candidates, key=lambda token: (-scores[token], token))


def top(scores, count):
    return set(ranked(scores, range(len(scores)))[:count])


def match_heads(large, small, layers):
    """For each large head the small head with the most similar set of salient tokens.

    large, small: accumulated attention over the window [heads, w]; layers: their two layer counts.
    """
    window = large.shape[1]
    count = max(8, round(0.2 * window))
    large_sets, small_sets = ([top(row, count) for row in f] for f in (large, small))
    norm = lambda f: f / numpy.linalg.norm(f, axis=1, keepdims=True)
    cosine = norm(large) @ norm(small).T
    depth = lambda head, heads, total: head // (heads // total) / max(1, total - 1)
    result = []
    for i, own in enumerate(large_sets):
        at = depth(i, len(large), layers[0])
        jaccard = [len(own & other) / len(own | other) for other in small_sets]
        key = lambda j: (
            -jaccard[j], -round(cosine[i, j], 9), abs(depth(j, len(small), layers[1]) - at), j,
        )
        result.append(min(range(len(small)), key=key))
    return numpy.array(result)


def choose(scores, n, counts):
    """Tiers of one head: recents first, then ranks of the older tokens (all may return)."""
    critical, recent, marginal = counts
    older = ranked(scores, range(n - recent))
    tiers = ["."] * (n - recent) + ["r"] * recent
    for rank, token in enumerate(older[: critical + marginal]):
        tiers[token] = "c" if rank < critical else "m"
    return "".join(tiers)


def near_edge(scores, chosen, rejected):
    """Tokens that rounding may move across the border between two sets, chosen and rejected."""
    if not chosen or not rejected:
        return []
    low, high = max(scores[t] for t in rejected), min(scores[t] for t in chosen)
    margin = TOLERANCE * float(numpy.max(scores))
    if high - low > margin:
        return []
    return [int(t) for t in [*chosen, *rejected] if low - margin <= scores[t] <= high + margin]


def near_ties(scores, n, counts):
    """Tokens near a border between tiers."""
    critical, recent, marginal = counts
    order = ranked(scores, range(n - recent))
    borders = {critical, critical + marginal}
    return sorted({t for b in borders for t in near_edge(scores, order[:b], order[b:])})


def evict(kept, scores, capacity, recent):
    """Gives up the smallest scores outside the recent window, earlier tokens first."""
    kept = list(kept)
    while len(kept) > capacity:
        open_tokens = kept[: len(kept) - recent]
        kept.remove(min(open_tokens, key=lambda token: (scores[token], token)))
    return kept
