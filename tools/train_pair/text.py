"""Training batches from the generator, which is TypeScript: a separate process, read as a stream of bytes."""

import dataclasses
import pathlib
import struct
import subprocess
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import Tensor

ROOT = pathlib.Path(__file__).resolve().parents[2]
# In the order of MICROWORLD_TASKS.
TASKS = ("roll", "route", "list", "sums", "qa", "sort", "ask", "story")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Items of one step, padded on the right."""

    tasks: list[str]
    """Task of each row."""
    ids: Tensor
    """Token ids [row, column]."""
    weights: Tensor
    """Weight in the loss [row, column]; 0 for padding."""
    answers: Tensor
    """Whether the model is to write the token [row, column]."""


def batches(phase: str, first: int) -> Iterator[Batch]:
    """Batches of a phase of the plan, from step `first` on."""
    command = ["deno", "run", "-A", "--no-check", "tools/train_pair/write_text.ts"]
    command += ["--phase", phase, "--from", str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        while header := process.stdout.read(8):
            yield read_batch(process.stdout, *struct.unpack("<II", header))
    if process.returncode != 0:
        raise RuntimeError(f"Cannot read training text: the generator must end well: it returned {process.returncode}")


def read_batch(stream: BinaryIO, rows: int, columns: int) -> Batch:
    """Reads what follows the header of a batch."""
    count = rows * columns

    def read(kind: torch.dtype, length: int) -> Tensor:
        return torch.frombuffer(bytearray(stream.read(length * kind.itemsize)), dtype=kind)

    tasks = [TASKS[index] for index in read(torch.uint8, rows).tolist()]
    ids = read(torch.int16, count).view(rows, columns).long()
    weights = read(torch.uint8, count).view(rows, columns).float() / 100
    answers = read(torch.uint8, count).view(rows, columns).bool()
    return Batch(tasks, ids, weights, answers)
