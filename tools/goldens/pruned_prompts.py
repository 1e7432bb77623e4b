"""Writes what PyramidInfer's pruning does: tests/fixtures/policies/pruned.json.gz.

    python tools/goldens/pruned_prompts.py

Hidden states of dropped tokens really leave the forward pass, as in the official code, on weights
loaded by transformers, in float64, with keys and values rounded to halves as the product stores
them. For every variant:

    prompt  positions in each layer's cache after the prompt, [layer]
    near    positions whose score lies within 1e-4 of a border, [layer]
    held    number of positions in each layer's cache after each forced step, [step][layer]
    last    positions after the last forced step, [layer]
    first, logprobs   log-probabilities of the best token after the prompt and of the forced ones
"""

import hashlib
import math

import torch

from policies_reference import CASES, FIXTURES, ROOT, prompt_of, write
from policy_model import load, rms_norm, rotate

RECENT, SINKS, LEAST, NEWEST, BLOCK, SHARE, FADE = 0.2, 4, 64, 1.2, 16, 0.9, 0.1
DECAY = 0.9  # the preset of 7-8B, which models of few layers get
GRID = 4096
STEPS = 90


def falling(end, layer, layers):
    return (1 - end) * (math.cos(math.pi * layer / layers) + 1) / 2 + end


def official_sizes(tokens, layers, decay=DECAY):
    """Tokens that reach each layer, and the newest ones that are never dropped."""
    newest = int(tokens * RECENT) + 1
    least = min(LEAST, tokens - newest)
    sizes = [tokens]
    for layer in range(layers - 1):
        context = sizes[-1] - newest
        fewer = int(context * falling(decay, layer, layers))
        sizes.append(newest + (fewer if fewer > least else context))
    return sizes, newest


def scaled_sizes(tokens, layers, ratio):
    """The most tokens, or the slowest decay, that the budget pays for."""
    allowed = layers * math.floor(tokens * ratio + 1e-9)
    if sum(official_sizes(tokens, layers)[0]) > allowed:
        tries = (official_sizes(cut, layers) for cut in range(tokens, 0, -1))
    else:
        tries = (
            official_sizes(tokens, layers, DECAY + (1 - DECAY) * step / GRID)
            for step in range(GRID, -1, -1)
        )
    return next(found for found in tries if sum(found[0]) <= allowed)


def weighted(rows):
    """Mean of rows [rows, n], the newest counting most."""
    return (rows * torch.linspace(1, NEWEST, len(rows))[:, None]).mean(0)


class Pruned:
    """A prompt that loses tokens from layer to layer, and the tokens generated after it."""

    def __init__(self, model, tokens, sizes, newest):
        self.model, self.sizes, self.newest = model, sizes, newest
        self.length = self.prompt = len(tokens)
        self.keys, self.values, self.where, self.rows, self.near = [], [], [], [], []
        x, places = model.inner.model.embed_tokens(torch.tensor(tokens)), torch.arange(len(tokens))
        for layer in range(len(model.layers)):
            x, keys, values, maps = self.run_layer(layer, x, places)
            self.rows.append(maps.mean(0)[-newest:])
            score, near = weighted(self.rows[-1]), set()
            held = self.best(score, places, sizes[layer], near)
            after = sizes[layer + 1] if layer + 1 < len(sizes) else len(held)
            going = self.best(score, held, after, near)
            self.near.append(sorted(near))
            slots = torch.tensor([places.tolist().index(place) for place in held.tolist()])
            self.keys.append(keys[slots]), self.values.append(values[slots]), self.where.append(held)
            x, places = x[[places.tolist().index(place) for place in going.tolist()]], going
        self.logprobs = self.predict(x[-1])

    def best(self, score, places, count, near):
        """First and newest places, and the best of the others; ties to the earlier."""
        if count >= len(places):
            return places
        sinks = min(SINKS, count - self.newest)
        middle = places.tolist()[sinks : len(places) - self.newest]
        ranked = sorted(middle, key=lambda place: (-score[place].item(), place))
        taken = ranked[: count - self.newest - sinks]
        if taken and len(taken) < len(ranked):
            edge = score[taken[-1]].item()
            if edge - score[ranked[len(taken)]].item() < 1e-4 * edge:
                near.update(p for p in middle if abs(score[p].item() - edge) < 1e-4 * edge)
        chosen = {*places.tolist()[:sinks], *places.tolist()[len(places) - self.newest :], *taken}
        return torch.tensor(sorted(chosen))

    def run_layer(self, layer, x, places, past=None):
        """One layer on rows x at places; (x, keys, values, maps [heads, rows, length])."""
        model, part = self.model, self.model.layers[layer]
        block, normed = part.self_attn, rms_norm(part.input_layernorm, x)
        heads = lambda y: y.unflatten(-1, (-1, model.head_dim))
        q, k, v = (heads(p(normed)) for p in (block.q_proj, block.k_proj, block.v_proj))
        q, k = (rotate(y, places, model.frequencies) for y in (q, k))
        k, v = model.halves(layer, k, v)
        seen = places
        if past is not None:
            k, v = torch.cat([self.keys[layer], k]), torch.cat([self.values[layer], v])
            seen = torch.cat([self.where[layer], places])
        wide_k, wide_v = (y.repeat_interleave(model.group, 1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, wide_k) / model.head_dim**0.5
        scores = scores.masked_fill(seen[None, None, :] > places[None, :, None], -torch.inf)
        weights = torch.softmax(scores, -1)
        x = x + block.o_proj(torch.einsum("hqk,khd->qhd", weights, wide_v).flatten(-2))
        x = x + part.mlp(rms_norm(part.post_attention_layernorm, x))
        maps = torch.zeros(len(weights), len(places), self.length)
        maps[:, :, seen] = weights
        return x, k, v, maps

    def predict(self, x):
        logits = self.model.inner.lm_head(rms_norm(self.model.inner.model.norm, x))
        return torch.log_softmax(logits, -1)

    def step(self, token):
        """Runs a token, then drops the worst of a block of 16 that has left the recent window."""
        place = torch.tensor([self.length])
        self.length += 1
        x = self.model.inner.model.embed_tokens(torch.tensor([token]))
        for layer in range(len(self.model.layers)):
            x, self.keys[layer], self.values[layer], maps = self.run_layer(layer, x, place, True)
            self.where[layer] = torch.cat([self.where[layer], place])
            older = torch.nn.functional.pad(self.rows[layer], (0, 1))
            self.rows[layer] = torch.cat([older, maps.mean(0)])[-self.newest :]
            self.compress(layer)
        self.logprobs = self.predict(x[-1])

    def compress(self, layer):
        passed = self.length - self.prompt - (self.newest - 1)
        if passed < BLOCK or passed % BLOCK:
            return
        first = self.prompt + passed - BLOCK
        count = max(1, int(BLOCK * SHARE * falling(FADE, layer, len(self.model.layers))))
        score = weighted(self.rows[layer])
        block = sorted(range(first, first + BLOCK), key=lambda place: (-score[place].item(), place))
        gone = set(block[count:])
        stays = [index for index, place in enumerate(self.where[layer].tolist()) if place not in gone]
        for kept in (self.keys, self.values, self.where):
            kept[layer] = kept[layer][stays]


def variant(model, prompt, setting, forced):
    layers, ratio = len(model.layers), setting["budget"]
    scaled = setting["policy"] == "pyramid_scaled"
    sizes = scaled_sizes(len(prompt), layers, ratio) if scaled else official_sizes(len(prompt), layers)
    run = Pruned(model, prompt, *sizes)
    kept = [places.tolist() for places in run.where]
    first, logprobs, held = run.logprobs.max().item(), [], []
    for token in forced:
        logprobs.append(run.logprobs[token].item())
        run.step(token)
        held.append([len(places) for places in run.where])
    last = [places.tolist() for places in run.where]
    rounded = [round(value, 6) for value in logprobs]
    return {**setting, "prompt": kept, "near": run.near, "held": held, "last": last,
            "first": round(first, 6), "logprobs": rounded}


def main():
    torch.set_default_dtype(torch.float64)
    folder = CASES["recall"][0]
    model = load(ROOT / folder)
    parts = [prompt_of(name, [model]) for name in ("recall", "short", "recall")]
    prompt = [token for part in parts for token in part]
    theirs = torch.log_softmax(model.inner(torch.tensor([prompt])).logits[0, -1], -1)
    layers = len(model.layers)
    whole = Pruned(model, prompt, [len(prompt)] * layers, int(len(prompt) * RECENT) + 1)
    error = (whole.logprobs - theirs).abs().max().item()
    if error > 5e-2:
        raise ValueError(f"The passes differ by {error}")
    forced = model.inner.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS
    )[0, len(prompt) :].tolist()
    settings = [
        {"policy": "pyramid_official", "budget": 0.2},
        *({"policy": "pyramid_scaled", "budget": budget} for budget in (0.1, 0.4, 0.97)),
    ]
    record = {
        "large": folder,
        "hash": hashlib.sha256((ROOT / folder / "model.safetensors").read_bytes()).hexdigest(),
        "tokens": prompt,
        "forced": forced,
        "variants": [variant(model, prompt, setting, forced) for setting in settings],
    }
    for one in record["variants"]:
        one["tokens"] = []  # for `write`, which prints them
    write(FIXTURES / "policies" / "pruned.json.gz", record)


if __name__ == "__main__":
    main()
