"""Writes tests/fixtures/float8.json: floats of 8 bits with scales, and what torch makes of them in BF16.

    python tools/goldens/float8.py      # needs torch
"""

import base64
import json
import pathlib

import torch

ROWS, COLUMNS = 37, 40
BLOCK = (16, 24)


def encode(tensor):
    return base64.b64encode(tensor.contiguous().view(torch.uint8).numpy().tobytes()).decode()


def spread(scales):
    """Repeats scales so that every weight has its own."""
    if scales.numel() == 1:
        return scales.reshape(1, 1)
    if scales.shape[0] == ROWS:
        return scales.reshape(ROWS, 1)
    rows = scales.repeat_interleave(BLOCK[0], 0)[:ROWS]
    return rows.repeat_interleave(BLOCK[1], 1)[:, :COLUMNS]


def main():
    generator = torch.Generator().manual_seed(8)

    def random(*shape):
        return torch.rand(shape, generator=generator) / 300 + 1e-4

    codes = torch.randint(0, 256, (ROWS, COLUMNS), generator=generator, dtype=torch.uint8)
    codes = torch.where(codes % 128 == 127, codes - 1, codes)  # no NaN
    weights = codes.view(torch.float8_e4m3fn)
    grid = (-(-ROWS // BLOCK[0]), -(-COLUMNS // BLOCK[1]))
    cases = {
        "blocks": random(*grid),
        "blocks of BF16": random(*grid).to(torch.bfloat16),
        "powers of two": 2.0 ** torch.randint(-12, -4, grid, generator=generator),
        "rows": random(ROWS, 1),
        "rows, flat": random(ROWS).to(torch.float16),
        "one": random(1)[0],
        "one in a list": random(1),
    }
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    types = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    fixture = {
        "floats": [None if value != value else value for value in every.tolist()],
        "shape": [ROWS, COLUMNS],
        "block": list(BLOCK),
        "weights": encode(codes),
        "cases": {
            name: {
                "type": types[scales.dtype],
                "shape": list(scales.shape),
                "scales": encode(scales.reshape(-1)),
                "decoded": encode((weights.float() * spread(scales.float())).to(torch.bfloat16)),
            }
            for name, scales in cases.items()
        },
    }
    root = pathlib.Path(__file__).parents[2]
    (root / "tests/fixtures/float8.json").write_text(json.dumps(fixture) + "\n")


main()
