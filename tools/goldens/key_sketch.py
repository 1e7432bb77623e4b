"""Writes tests/fixtures/key_sketch.json: sketches of random keys and the rows that they predict, by numpy alone.

The rotation is the orthogonal factor of numpy's QR decomposition, levels come from Lloyd's iteration on the normal density,
and rows from the reconstructed keys, so that nothing but the numbers drawn for the rotation follows the product's code.
"""

import json
import math
from pathlib import Path

import numpy as np

HEAD_DIM, TOKENS, PROMPT, HEADS, SEED = 64, 48, 40, 3, 33
MASK = 0xFFFFFFFF


def generator(seed):
    """xoroshiro128+ as pure-rand seeds it, after the product's mixing of the seed and sixteen discarded draws."""
    bits = ((seed ^ 0x9E3779B9) * 0x85EBCA6B) & MASK
    bits = ((bits ^ (bits >> 13)) * 0xC2B2AE35) & MASK
    bits ^= bits >> 16
    first = ((~bits & MASK) << 0) | (MASK << 32)
    second = bits << 32
    state = [first, second]
    word64 = (1 << 64) - 1

    def rotate(x, k):
        return ((x << k) | (x >> (64 - k))) & word64

    def draw():
        a, b = state
        out = (a + b) & MASK
        b ^= a
        state[0] = rotate(a, 24) ^ b ^ ((b << 16) & word64)
        state[1] = rotate(b, 37)
        return out

    for _ in range(16):
        draw()
    return draw


def uniform(draw):
    high, low = draw() & 0x3FFFFFF, draw() & 0x7FFFFFF
    return (high * 2**27 + low) * 2.0**-53


def rotation():
    draw = generator(SEED)
    rows = [[sum(uniform(draw) for _ in range(12)) - 6 for _ in range(HEAD_DIM)] for _ in range(HEAD_DIM)]
    q, r = np.linalg.qr(np.array(rows).T)
    return (q * np.sign(np.diag(r))).T


def lloyd(bits):
    """Levels that lose least of a standard normal variable."""
    x = np.linspace(-8, 8, 400001)
    density = np.exp(-x * x / 2)
    levels = np.linspace(-2, 2, 2**bits) if bits > 1 else np.array([-1.0, 1.0])
    for _ in range(2000):
        codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, x)
        mass = np.bincount(codes, density, len(levels))
        levels = np.bincount(codes, density * x, len(levels)) / mass
    return levels


def main():
    random = np.random.default_rng(7)
    offset = random.normal(size=HEAD_DIM) * 4
    spread = np.exp(random.normal(size=HEAD_DIM))
    keys = (offset + spread * random.normal(size=(TOKENS, HEAD_DIM))).astype(np.float16).astype(np.float64)
    queries = random.normal(size=(HEADS, HEAD_DIM)).astype(np.float32).astype(np.float64)
    mean = keys[:PROMPT].mean(axis=0)
    matrix = rotation()
    rotated = (keys - mean) @ matrix
    scales = np.sqrt((rotated**2).mean(axis=1))
    sketches = []
    for bits in (1, 2, 4):
        levels = lloyd(bits)
        codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, rotated / scales[:, None])
        rebuilt = (levels[codes] * scales[:, None]) @ matrix.T + mean
        scores = queries @ rebuilt.T / math.sqrt(HEAD_DIM)
        rows = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows /= rows.sum(axis=1, keepdims=True)
        sketches.append({"bits": bits, "codes": codes.tolist(), "rows": rows.tolist()})
    golden = {
        "headDim": HEAD_DIM,
        "promptTokens": PROMPT,
        "keys": keys.tolist(),
        "queries": queries.tolist(),
        "rotation": matrix[:4].tolist(),
        "scales": scales.tolist(),
        "sketches": sketches,
    }
    path = Path(__file__).parents[2] / "tests/fixtures/key_sketch.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
