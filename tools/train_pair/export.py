"""Exports the trained pair as transformers stores models, checks it against transformers, and writes its manifest."""

import hashlib
import json
import pathlib
import shutil
import subprocess

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from model import NORM_EPSILON, ROPE_THETA, Decoder, Shape
from text import ROOT
from train import PLAN

ROLES = ("large", "small")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
LONGEST = 512
ITEMS = 100
CURVE_EVERY = 200
# Two implementations of the same float32 arithmetic differ by rounding, not by more.
ALLOWED_DIFFERENCE = 1e-4


def last_phase(role: str) -> dict:
    """The phase with which training of a model ends."""
    return [phase for phase in PLAN["phases"] if phase["model"] == role][-1]


def export_model(role: str, folder: pathlib.Path, target: pathlib.Path) -> float:
    """Writes one model; the largest difference of its logits from those of transformers."""
    target.mkdir(parents=True, exist_ok=True)
    weights = torch.load(folder / f"{last_phase(role)['name']}.pt", map_location="cpu")["model"]
    halves = {name: tensor.half().contiguous() for name, tensor in weights.items()}
    save_file(halves, target / "model.safetensors", metadata={"format": "pt"})
    config = Qwen2Config(
        **PLAN["models"][role],
        max_position_embeddings=LONGEST,
        rms_norm_eps=NORM_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        use_sliding_window=False,
        dtype="float16",
        architectures=["Qwen2ForCausalLM"],
    ).to_diff_dict()
    # Older readers look for these two.
    config |= {"rope_theta": ROPE_THETA, "torch_dtype": "float16"}
    (target / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    for name in TOKENIZER_FILES:
        shutil.copyfile(ROOT / "data" / "embedded" / role / name, target / name)
    return difference_from_transformers(role, target)


@torch.no_grad()
def difference_from_transformers(role: str, folder: pathlib.Path) -> float:
    """Largest difference of logits between our model and Qwen2ForCausalLM, both in float32."""
    theirs = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(3, 760, (2, LONGEST), generator=torch.Generator().manual_seed(0))
    difference = (exported(role, folder)(ids) - theirs(ids).logits).abs().max().item()
    if difference > ALLOWED_DIFFERENCE:
        raise ValueError(f"Cannot export {role}: logits must equal those of transformers: they differ by {difference}")
    return difference


def exported(role: str, folder: pathlib.Path) -> Decoder:
    """Reads an exported model back."""
    model = Decoder(Shape(**PLAN["models"][role]))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model.eval()


@torch.no_grad()
def exact_match(model: Decoder, items: dict[str, list]) -> dict[str, float]:
    """Share of items whose whole answer greedy decoding writes.

    Greedy decoding is right to the end exactly if it is right at each step after a right beginning, so one pass
    over prompt and answer grades an item.
    """
    shares = {}
    for task, rows in items.items():
        right = 0
        for prompt, answer in rows:
            choices = model(torch.tensor([prompt + answer[:-1]])).argmax(-1)[0, len(prompt) - 1 :]
            right += choices.tolist() == answer
        shares[task] = right / len(rows)
    return shares


def evaluation_items(count: int) -> dict[str, list]:
    """Held-out items by task, each a prompt and its answer in token ids."""
    command = ["deno", "run", "-A", "--no-check", "tools/train_pair/write_items.ts", "--count", str(count)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def training_record(folder: pathlib.Path) -> dict:
    """Phases with their seeds, steps, tokens and minutes, and the loss by task as it fell."""
    phases, curves = [], {role: [] for role in ROLES}
    for phase in PLAN["phases"]:
        counters = torch.load(folder / f"{phase['name']}.pt", map_location="cpu")["counters"]
        kept = {key: phase[key] for key in ("name", "model", "after", "seed", "steps", "rate", "mix", "lengths")}
        phases.append({**kept, "tokens": counters["tokens"], "minutes": round(counters["minutes"], 1)})
        curves[phase["model"]] += [
            {"phase": phase["name"], "step": point["step"], "loss": point["loss"]}
            for point in counters["curve"]
            if point["step"] % CURVE_EVERY == 0 or point["step"] == phase["steps"]
        ]
    return {key: PLAN[key] for key in ("start", "growth", "mixes")} | {"phases": phases, "lossCurve": curves}


def export_pair(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Writes both models and the manifest."""
    items = evaluation_items(ITEMS)
    lengths = [len(prompt) - 1 for rows in items.values() for prompt, _ in rows]
    manifest = {"name": "micro-world pair", "licence": "MIT", "architecture": "Qwen2", "files": {}, "parameters": {}}
    grades, differences = {}, {}
    for role in ROLES:
        differences[role] = export_model(role, folder, target / role)
        model = exported(role, target / role)
        manifest["parameters"][role] = sum(parameter.numel() for parameter in model.parameters())
        grades[role] = exact_match(model, items)
        print(f"{role}: exact match {grades[role]}, logits within {differences[role]:.1e} of transformers", flush=True)
        for path in sorted((target / role).iterdir()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            manifest["files"][f"{role}/{path.name}"] = {"sha256": digest, "bytes": path.stat().st_size}
    manifest["training"] = training_record(folder)
    manifest["largestLogitDifference"] = differences
    manifest["exactMatch"] = {
        "items": ITEMS,
        "seed": 99,
        "promptTokens": [min(lengths), max(lengths)],
        "fullCache": grades,
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
