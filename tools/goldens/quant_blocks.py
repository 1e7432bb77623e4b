"""Writes tests/fixtures/quant_blocks.json: random blocks of ggml's types and what they mean.

The meaning comes from the gguf package of llama.cpp, so the fixture ties our readers to the format's owner.

    python tools/goldens/quant_blocks.py      # needs numpy and gguf 0.19.0
"""

import base64
import json
import pathlib

import numpy
from gguf import GGMLQuantizationType, quants

# Byte offsets of the f16 fields of a block, its size, and its number of weights. MXFP4 has an exponent in a byte instead.
TYPES = {
    "Q4_0": ([0], 18, 32),
    "Q4_1": ([0, 2], 20, 32),
    "Q5_0": ([0], 22, 32),
    "Q5_1": ([0, 2], 24, 32),
    "Q8_0": ([0], 34, 32),
    "Q4_K": ([0, 2], 144, 256),
    "Q5_K": ([0, 2], 176, 256),
    "Q6_K": ([208], 210, 256),
    "F16": ([], 2, 1),
    "BF16": ([], 2, 1),
    "Q2_K": ([80, 82], 84, 256),
    "Q3_K": ([108], 110, 256),
    "IQ4_NL": ([0], 18, 32),
    "IQ4_XS": ([0], 136, 256),
    "MXFP4": ([], 17, 32),
}


def random_blocks(generator, fields, size, count):
    blocks = generator.integers(0, 256, (count, size), dtype=numpy.uint8)
    for field in fields:
        halves = (generator.uniform(-1, 1, count) / 64).astype(numpy.float16)
        blocks[:, field : field + 2] = halves.view(numpy.uint8).reshape(count, 2)
    return blocks


def encode(array):
    return base64.b64encode(array.tobytes()).decode()


def main():
    generator = numpy.random.default_rng(7)
    fixture = {}
    for name, (fields, size, weights) in TYPES.items():
        count = 3 * 256 // weights
        blocks = random_blocks(generator, fields, size, count)
        if name == "MXFP4":
            blocks[:, 0] = [0, 1, 2, 3] + list(range(110, 110 + count - 4))
        elif not fields:  # plain floats: keep the bits of small finite numbers
            floats = generator.uniform(-1, 1, count).astype(numpy.float32)
            kind = GGMLQuantizationType[name]
            blocks = quants.quantize(floats.reshape(1, -1), kind).view(numpy.uint8)
        values = quants.dequantize(blocks.reshape(1, -1), GGMLQuantizationType[name])
        fixture[name] = {
            "count": count * weights,
            "bytes": encode(blocks),
            "floats": encode(values.astype("<f4")),
        }
    root = pathlib.Path(__file__).parents[2]
    path = root / "tests/fixtures/quant_blocks.json"
    path.write_text(json.dumps(fixture, indent=2) + "\n")


main()
