"""Writes what cache policies do, by an independent implementation: tests/fixtures/policies/NAME.json.gz.

    python tools/goldens/policies_reference.py [NAME ...]
    python tools/goldens/policies_reference.py --models FOLDER real_code real_prose   # 12 GB of memory

Follows the published methods alone (policy_rules.py, policy_decoding.py) on weights loaded by
transformers, in float64 (the real pair in float32), with keys and values rounded to halves as the
product stores them, except for the head match. Each case names its models and the hashes of their
files, and has a prompt, the head match, and for every policy and budget:

    tokens  greedy tokens; the first comes from the exact prompt
    gaps    log-probability of each greedy token over that of the runner-up
    kl      divergence from the full cache when the full cache's tokens are given
    tiers   teacher-forced run, [step][layer][selection]: one letter a token, k or c or r kept, m marginal
    near    teacher-forced run, tokens whose scores lie within 1e-4 of a border: [step][layer][selection]
"""

import argparse
import gzip
import hashlib
import json
import pathlib

import numpy
import torch
import transformers

from policy_decoding import decode
from policy_model import check, load

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
TEXTS = {
    "recall": " Kim has the harp. The tea was hot. Zoe has the boot. Wes is in Crag. It was late. A red"
    " fox ran by. Uma has the fig. Vic is in Rose. Snow fell in the night. Zoe is in Salt. Wes has the"
    " book. Nobody spoke. The fire was low. Vic has the shell. A blue seal ran by. Uma is in Holt. It"
    " rained all day. Yes, Wes has the book. The moon was full. There was a red door and a gray wall."
    " Bread was on the table.\nQuiz from Uma:",
    "route": " From Pine go to Marsh. The moon was full. From Reed go to Pine. A white ibis ran by. From"
    " Dale go to Reed. It was quiet. From Marsh go to home. The wind was cold. Yes, From Reed go to"
    " Pine. A door was open. The road was long. From Rose go to Dale. Then it was morning. A gray mole"
    " ran by. Yes, From Dale go to Reed.\nTrip from Rose:",
}
REAL_TEXTS = {
    "real_code": (
        "def moving_average(values, width):\n    \"\"\"Returns the mean of every window of `width`"
        " values.\"\"\"\n    if width < 1 or width > len(values):\n        raise ValueError(f\"width must"
        " be from 1 to {len(values)}\")\n    total = sum(values[:width])\n    means = [total / width]\n"
        "    for index in range(width, len(values)):\n        total += values[index] - values[index -"
        " width]\n        means.append(total / width)\n    return means\n\n\ndef exponential_average(values,"
        " weight):\n    \"\"\"Returns the running mean in which older values fade by `weight`.\"\"\"\n"
    ),
    "real_prose": (
        "Question: A school buys tickets for a museum. There are 4 classes with 23, 25, 22 and 26"
        " children, and each class is led by 2 teachers. A ticket costs 6 dollars for a child and 9"
        " dollars for a teacher, and groups of more than 90 people pay 10 percent less. How much does"
        " the school pay?\nAnswer: There are 23 + 25 + 22 + 26 = 96 children and 4 * 2 = 8 teachers,"
        " together 104 people. The children's tickets cost 96 * 6 = 576 dollars and the teachers' 8 *"
        " 9 = 72 dollars, together 648 dollars. The group has more than 90 people, so it pays 10"
        " percent less: 648 - 64.8 = 583.2 dollars.\n\nQuestion: On the way home the same children"
        " buy an ice cream each for 2 dollars, and the teachers pay for their own coffee, 3 dollars"
        " each. How much do they spend together?\nAnswer:"
    ),
}
POLICIES = (
    {"policy": "streaming"},
    {"policy": "h2o"},
    {"policy": "tova"},
    {"policy": "pyramid_budget"},
    {"policy": "smallkv"},
    {"policy": "smallkv", "score": "decayed", "decay": 0.8},
    {"policy": "smallkv", "score": "row"},
    {"policy": "smallkv", "combine": "mass_split"},
)
MORE = (
    {"policy": "snapkv"},
    {"policy": "without_small_model"},
    {"policy": "smallkv", "marginal": False},
    *({"policy": "smallkv", "combine": combine} for combine in ("additive", "eq6_est", "joint_nosink")),
)
WIDE = tuple(
    {"policy": "smallkv", "granularity": granularity}
    for granularity in ("query_head", "layer", "kv_match")
)
SLOTS = tuple({"policy": policy, "positions": "slot"} for policy in ("streaming", "h2o", "smallkv"))
RANDOM = "tests/fixtures/tiny/"
CASES = {
    "recall": ("data/embedded/large", "data/embedded/small", (*POLICIES, *MORE, *SLOTS), (0.1, 0.2), 9),
    "short": ("data/embedded/large", "data/embedded/small", POLICIES, (0.2,), 14),
    "grouped": (RANDOM + "smollm2_tied_bf16", RANDOM + "qwen2_tied_bf16", (*POLICIES, *MORE, *WIDE, *SLOTS), (0.1, 0.3), 18),
    "scaled": (RANDOM + "llama3_rope_f16", RANDOM + "smollm2_tied_bf16", (*POLICIES, *SLOTS), (0.05, 0.2), 6),
}
FILES = {
    "large": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "small": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
}


def prompt_of(name, models):
    """Token ids: of a text where the models know words, random otherwise."""
    folder = ROOT / CASES[name][0]
    if (folder / "tokenizer.json").exists():
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        text = TEXTS["route" if name == "short" else name]
        ids = [0, *tokenizer.encode(text, add_special_tokens=False)]
        return ids[:-1][-96:] if name == "short" else ids
    vocabulary = models[0].config.vocab_size
    length = {"grouped": 130, "scaled": 211}[name]
    return numpy.random.default_rng(len(name)).integers(3, vocabulary, length).tolist()


def divergence(reference, other):
    return float((reference.exp() * (reference - other)).sum())


def compute(models, prompt, settings, steps):
    """The record of a case."""
    free = decode(models, prompt, settings, steps)
    forced = decode(models, prompt, settings, steps, free[0]["tokens"])
    variants = []
    for setting, run, held in zip(settings, free, forced):
        best = [row.topk(2).values for row in run["logprobs"]]
        variants.append({
            **setting,
            "tokens": run["tokens"],
            "gaps": [round(float(a - b), 5) for a, b in best],
            "kl": [float(f"{divergence(a, b):.5g}") for a, b in zip(forced[0]["logprobs"], held["logprobs"])],
            "tiers": held["tiers"] if setting["policy"] != "full" else [],
            "near": held["near"] if setting["policy"] != "full" else [],
        })
    return {"prompt": prompt, "match": forced[0]["match"].tolist(), "variants": variants}


def settings_of(policies, budgets):
    full = {"policy": "full", "budget": 1}
    return [full, *({**policy, "budget": budget} for budget in budgets for policy in policies)]


def write(path, record):
    path.parent.mkdir(exist_ok=True)
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    data = json.dumps({"versions": versions, **record}, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(path.name, path.stat().st_size, [v["tokens"] for v in record["variants"]][:2])


def write_case(name):
    large, small, policies, budgets, steps = CASES[name]
    models = load(ROOT / large), load(ROOT / small)
    prompt = prompt_of(name, models)
    for model in models:
        check(model, prompt)
    record = compute(models, prompt, settings_of(policies, budgets), steps)
    hashes = [hashlib.sha256((ROOT / f / "model.safetensors").read_bytes()).hexdigest() for f in (large, small)]
    names = {"large": large, "small": small, "hashes": hashes}
    write(FIXTURES / "policies" / f"{name}.json.gz", {**names, **record})


def write_real(name, folder):
    torch.set_default_dtype(torch.float32)
    models = tuple(load(folder, torch.float32, gguf_file=file) for file in FILES.values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILES["large"])
    prompt = tokenizer.encode(REAL_TEXTS[name], add_special_tokens=False)
    record = compute(models, prompt, settings_of(POLICIES, (0.1, 0.2)), 12)
    write(FIXTURES / "policies" / f"{name}.json.gz", {**FILES, **record})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    for name in arguments.names or CASES:
        if name in REAL_TEXTS:
            write_real(name, arguments.models)
        else:
            write_case(name)


if __name__ == "__main__":
    main()
