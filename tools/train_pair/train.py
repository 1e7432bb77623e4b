"""Trains one phase of the plan; resumed from its last checkpoint when run again.

python tools/train_pair/train.py --phase retrieval --folder results/.cache/train_pair
"""

import argparse
import json
import pathlib
import time

import torch
from torch import Tensor
from torch.nn import functional

from model import Decoder, Shape
from start import grown, started
from text import Batch, batches

PLAN = json.loads((pathlib.Path(__file__).parent / "plan.json").read_text())
REPORT_EVERY = 100
SAVE_EVERY = 250
# Of the tokens of a prompt only so many are trained on in a step: they weigh little and cost as much.
PROMPT_SHARE = 0.2
PROMPT_WEIGHT = 0.1


def rate_at(phase: dict, step: int) -> float:
    """Learning rate of a step."""
    warm = min(1.0, (step + 1) / phase["warm_up"])
    return phase["rate"] * warm * (1 - step / phase["steps"] if phase["falls"] else 1)


def optimizer_of(model: Decoder) -> torch.optim.AdamW:
    """AdamW, with weight decay on matrices alone."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


class Report:
    """Loss and exact answers of the tokens that were trained on, by task, since the last report."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    @torch.no_grad()
    def add(self, batch: Batch, chosen: Tensor, losses: Tensor, right: Tensor) -> None:
        rows = torch.arange(len(batch.tasks))[:, None].expand_as(chosen)[chosen]
        answers = batch.answers[:, 1:][chosen]
        full = batch.weights[:, 1:][chosen] >= 1
        for index, task in enumerate(batch.tasks):
            counted = (rows == index) & (full if task == "story" else answers)
            if counted.any():
                sums = self.sums.setdefault(task, [0.0, 0, 0, 0])
                sums[0] += losses[counted].sum().item()
                sums[1] += int(counted.sum())
                sums[2] += bool(right[counted].all())
                sums[3] += 1

    def take(self) -> dict:
        """The numbers; the next report starts from zero."""
        sums, self.sums = self.sums, {}
        return {
            "loss": {task: round(loss / tokens, 4) for task, (loss, tokens, _, _) in sorted(sums.items())},
            "exact": {task: round(exact / items, 3) for task, (_, _, exact, items) in sorted(sums.items())},
        }


def forward(model: Decoder, batch: Batch, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Chosen targets [row, column - 1], and loss and correctness of each."""
    weights, targets = batch.weights[:, 1:], batch.ids[:, 1:]
    lottery = torch.rand(weights.shape, generator=torch.Generator().manual_seed(seed))
    chosen = (weights > PROMPT_WEIGHT) | ((weights > 0) & (lottery < PROMPT_SHARE))
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits = model.head(model.model(batch.ids[:, :-1].to(device))[chosen.to(device)])
    wanted = targets[chosen].to(device)
    losses = functional.cross_entropy(logits.float(), wanted, reduction="none")
    return chosen, losses, logits.argmax(-1) == wanted


def resume(phase: dict, folder: pathlib.Path, device: str) -> tuple[Decoder, torch.optim.AdamW, dict]:
    """Model, optimizer and counters of a phase: from its own checkpoint, or from the phase before it."""
    shape = Shape(**PLAN["models"][phase["model"]])
    own = folder / f"{phase['name']}.pt"
    counters = {"step": 0, "tokens": 0, "minutes": 0.0, "curve": []}
    if phase["after"] is None:
        model, optimizer = started(shape, PLAN["start"], phase["seed"]), None
    else:
        before = next(other for other in PLAN["phases"] if other["name"] == phase["after"])
        saved = torch.load(folder / f"{before['name']}.pt")
        model, optimizer = Decoder(Shape(**PLAN["models"][before["model"]])), saved["optimizer"]
        model.load_state_dict(saved["model"])
        if phase["grows"]:
            model, optimizer = grown(model, shape, PLAN, phase["seed"]), None
        else:
            counters["tokens"] = saved["counters"]["tokens"]
    if own.exists():
        saved = torch.load(own)
        model.load_state_dict(saved["model"])
        optimizer, counters = saved["optimizer"], saved["counters"]
    model = model.to(device)
    fresh = optimizer_of(model)
    if optimizer is not None:
        fresh.load_state_dict(optimizer)
    return model, fresh, counters


def save(path: pathlib.Path, model: Decoder, optimizer: torch.optim.AdamW, counters: dict) -> None:
    """Writes a checkpoint that is whole or not there."""
    draft = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "counters": counters}, draft)
    draft.replace(path)


def train(name: str, folder: pathlib.Path) -> None:
    """Trains a phase to its end."""
    phase = next(candidate for candidate in PLAN["phases"] if candidate["name"] == name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, optimizer, counters = resume(phase, folder, device)
    report = Report()
    started_at, before = time.monotonic(), counters["minutes"]
    for step, batch in enumerate(batches(name, counters["step"]), counters["step"]):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(phase, step)
        chosen, losses, right = forward(model, batch, phase["seed"] * 1_000_003 + step)
        weights = batch.weights[:, 1:][chosen].to(device)
        ((losses * weights).sum() / weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        report.add(batch, chosen, losses.detach().cpu(), right.cpu())
        counters["step"] = step + 1
        counters["tokens"] += int((batch.weights > 0).sum())
        counters["minutes"] = before + (time.monotonic() - started_at) / 60
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == phase["steps"]:
            counters["curve"].append({"step": step + 1, "tokens": counters["tokens"], **report.take()})
            line = {"phase": name, "minutes": round(counters["minutes"], 2), **counters["curve"][-1]}
            print(json.dumps(line), flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == phase["steps"]:
            save(folder / f"{name}.pt", model, optimizer, counters)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one phase of the plan, from its last checkpoint on.")
    parser.add_argument("--phase", required=True, choices=[phase["name"] for phase in PLAN["phases"]])
    parser.add_argument("--folder", required=True, type=pathlib.Path, help="where checkpoints lie")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # two phases run side by side
    train(options.phase, options.folder)


if __name__ == "__main__":
    main()
