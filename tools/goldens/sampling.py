"""Which tokens transformers' logits warpers leave to draw from, and with which probabilities.

    python tools/goldens/sampling.py tests/fixtures/sampling.json
"""

import json
import pathlib
import sys

import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

VOCABULARY = 24
SEPARATOR = ",\n"
CASES: list[str] = []
CHOICES = [
    {"temperature": 0.7},
    {"topK": 1},
    {"topK": 5},
    {"topK": 100},
    {"topP": 0.3},
    {"topP": 0.9},
    {"topP": 0.999},
    {"topP": 1e-6},
    {"temperature": 2.5, "topP": 0.8},
    {"temperature": 0.4, "topK": 8, "topP": 0.75},
    {"temperature": 1.5, "topK": 3, "topP": 0.5},
]


def warped(logits: torch.Tensor, choices: dict) -> torch.Tensor:
    """Probabilities after the warpers, in the order in which generate() applies them."""
    scores = logits[None]
    if "temperature" in choices:
        scores = TemperatureLogitsWarper(choices["temperature"])(None, scores)
    if "topK" in choices:
        scores = TopKLogitsWarper(choices["topK"])(None, scores)
    if "topP" in choices:
        scores = TopPLogitsWarper(choices["topP"])(None, scores)
    return torch.softmax(scores, dim=-1)[0]


def main() -> None:
    generator = torch.Generator().manual_seed(7)
    rows = [torch.randn(VOCABULARY, generator=generator, dtype=torch.float64) * scale for scale in (0.5, 3, 12)]
    rows.append(torch.tensor([0, 1, 2, 2, 1, 0, 2, -1] * 3, dtype=torch.float64))
    lines = []
    for row in rows:
        logits = (row * 4096).round() / 4096
        has_ties = len(set(logits.tolist())) < VOCABULARY
        for choices in CHOICES:
            if has_ties and "topP" in choices:
                continue  # torch sorts equal values in no particular order
            probabilities = warped(logits, choices)
            kept = torch.nonzero(probabilities)[:, 0].tolist()
            values = [float(f"{probabilities[token]:.12g}") for token in kept]
            case = {"row": len(lines), "choices": choices, "kept": kept, "probabilities": values}
            CASES.append(json.dumps(case))
        lines.append(json.dumps(logits.tolist()))
    text = f'{{"rows": [\n{SEPARATOR.join(lines)}\n], "cases": [\n{SEPARATOR.join(CASES)}\n]}}\n'
    pathlib.Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
