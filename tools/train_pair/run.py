"""Repeats everything: training text, both models, export, checks and manifest.

    python tools/train_pair/run.py --folder results/.cache/train_pair

Phases run as soon as the one before them is done, the two models side by side. What a run has finished is kept in the
folder; started again, it continues from there.
"""

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())


def train_phase(name: str, folder: pathlib.Path) -> None:
    """Trains a phase in a separate process; its reports go to the log next to its checkpoint."""
    command = [sys.executable, HERE / "train.py", "--phase", name, "--folder", folder]
    print(f"{name}: training, see {folder / name}.log", flush=True)
    with (folder / f"{name}.log").open("a", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    print(f"{name}: done", flush=True)


def is_finished(phase: dict, folder: pathlib.Path) -> bool:
    """Whether the last checkpoint of a phase is its end."""
    import torch

    path = folder / f"{phase['name']}.pt"
    return path.exists() and torch.load(path, map_location="cpu")["counters"]["step"] == phase["steps"]


def train_all(folder: pathlib.Path) -> None:
    """Trains all phases, each after the one that it continues."""
    folder.mkdir(parents=True, exist_ok=True)
    finished: dict[str, concurrent.futures.Future] = {}

    def run(phase: dict) -> None:
        if phase["after"] is not None:
            finished[phase["after"]].result()
        if not is_finished(phase, folder):
            train_phase(phase["name"], folder)

    with concurrent.futures.ThreadPoolExecutor(len(PLAN["phases"])) as threads:
        for phase in PLAN["phases"]:
            finished[phase["name"]] = threads.submit(run, phase)
    for phase in finished.values():
        phase.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="deno task train-pair", description="Train the embedded pair and export it.")
    parser.add_argument("--folder", required=True, type=pathlib.Path, help="checkpoints, logs and the pair")
    folder = parser.parse_args().folder.resolve()
    # Only now, so that --help needs Python alone.
    try:
        import torch

        from export import export_pair
    except ImportError as error:
        sys.exit(f"Cannot train the pair: what requirements.txt names must be installed: current error is: {error}")
    train_all(folder)
    torch.set_num_threads(1)
    export_pair(folder, folder / "pair")


if __name__ == "__main__":
    main()
