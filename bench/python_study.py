"""The study that `deno task bench study` times, as a researcher without a GPU writes it with transformers.

Both models in float32, eager attention, all settings as one batch: prompts of WikiText-2 are read once, then the text's own
next tokens are run one by one while every setting sees only what its policy keeps. Needs torch and transformers.

    python3 python_study.py --large FILE.gguf --small FILE.gguf --texts tokens.json --steps 24

Texts are token ids, [[prompt, continuation], ...]. Prints one JSON line: processor and wall seconds without loading, peak
resident bytes, and the mean divergence of each setting from the full cache in nats, to see that it is the same study.
"""

import argparse
import json
import os
import resource
import time

import torch
from transformers import AttentionInterface, AutoModelForCausalLM

BUDGETS = (0.05, 0.1, 0.2, 0.4)
POLICIES = ("random", "h2o", "smallkv", "critical_only")
SETTINGS = [("full", 1.0)] + [(policy, budget) for policy in POLICIES for budget in BUDGETS][:15]
MATCHED_ROWS = 200
RECENT_SHARE, MARGINAL_SHARE = 0.25, 0.5
SINKS = 4


class Step:
    """What attention sees of a step, by layer; nothing while a prompt is read."""

    seen = None  # [layers] of bool [settings, heads, tokens]
    marginal = None  # [layers] of float [settings, heads, tokens]: weights that replace softmax's


def attend(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """Eager attention, with the tokens and the borrowed weights of `Step`."""
    groups = module.num_key_value_groups
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :, : key.shape[2]]
    if Step.seen is None or query.shape[2] > 1 or query.shape[0] == 1:
        weights = scores.softmax(-1)
    else:
        seen, marginal = Step.seen[module.layer_idx], Step.marginal[module.layer_idx]
        weights = scores.masked_fill(~seen[:, :, None], -torch.inf).softmax(-1)
        rest = 1 - marginal.sum(-1, keepdim=True)
        weights = weights * rest[:, :, None] + marginal[:, :, None]
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register("study", attend)


def load(path):
    folder, file = os.path.split(path)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="study"
    )
    return model.eval()


def flat(attentions):
    """Attention of all layers of a batch of one, [layers * heads, queries, keys]."""
    return torch.cat([layer[0] for layer in attentions])


def match(large, small):
    """For each large head the small head with the most similar sums of attention (cosine)."""
    sums = [maps[:, :MATCHED_ROWS, :MATCHED_ROWS].sum(1) for maps in (large, small)]
    large, small = (torch.nn.functional.normalize(part, dim=-1) for part in sums)
    return (large @ small.T).argmax(1)


def keep(saliency, tokens, count, recent, sinks=SINKS):
    """The most salient tokens of each head, the first and the newest ones, [heads, tokens]."""
    kept = torch.zeros_like(saliency, dtype=torch.bool)
    saliency = saliency.clone()
    saliency[:, :sinks] = torch.inf
    kept[:, tokens - recent :] = True
    chosen = max(0, count - recent)
    if chosen:
        best = saliency[:, : tokens - recent].topk(min(chosen, tokens - recent), dim=-1).indices
        kept.scatter_(1, best, True)
    return kept


def plan(policy, budget, tokens, known):
    """Tokens with keys, and borrowed weights, of each large head, [heads, tokens] each."""
    heads = known["h2o"].shape[0]
    none = torch.zeros(heads, tokens)
    if policy == "full":
        return torch.ones(heads, tokens, dtype=torch.bool), none
    count = max(2, round(budget * tokens))
    recent = max(1, round(RECENT_SHARE * count))
    if policy == "random":
        return keep(known["random"][:, :tokens], tokens, count, recent), none
    if policy == "h2o":
        return keep(known["h2o"][:, :tokens], tokens, count, recent, sinks=0), none
    saliency, row = known["smallkv"][:, :tokens], known["row"][:, :tokens]
    if policy == "critical_only":
        return keep(saliency, tokens, count, recent), none
    # Half of the entries are spent on values alone, which cost half an entry each.
    critical = max(2, round((1 - MARGINAL_SHARE) * count))
    kept = keep(saliency, tokens, critical, max(1, round(RECENT_SHARE * critical)))
    marginal = 2 * (count - critical)
    rest = saliency.masked_fill(kept, -1)
    chosen = torch.zeros_like(kept).scatter_(1, rest.topk(min(marginal, tokens), -1).indices, True)
    return kept, torch.where(chosen & ~kept, row, none)


@torch.no_grad()
def study(large, small, prompt, continuation):
    """Mean divergence of each setting from the full cache over the given tokens."""
    Step.seen = Step.marginal = None
    ids = torch.tensor([prompt])
    read = {name: model(ids, use_cache=True, output_attentions=True)
            for name, model in (("large", large), ("small", small))}
    maps = {name: flat(result.attentions) for name, result in read.items()}
    matched = match(maps["large"], maps["small"])
    heads, capacity = matched.shape[0], len(prompt) + len(continuation)
    known = {"h2o": torch.zeros(heads, capacity), "smallkv": torch.zeros(heads, capacity),
             "row": torch.zeros(heads, capacity), "random": torch.rand(heads, capacity)}
    known["h2o"][:, : len(prompt)] = maps["large"].sum(1)
    known["smallkv"][:, : len(prompt)] = maps["small"].sum(1)[matched]
    cache, small_cache = read["large"].cache, read["small"].cache
    cache.batch_repeat_interleave(len(SETTINGS))
    del read, maps
    layers = large.config.num_hidden_layers
    divergence = torch.zeros(len(SETTINGS))
    for step, token in enumerate(continuation):
        tokens = len(prompt) + step + 1
        Step.seen = Step.marginal = None
        guide = small(torch.tensor([[token]]), cache=small_cache, output_attentions=True)
        row = flat(guide.attentions)[matched, 0]
        known["row"][:, :tokens] = row
        known["smallkv"][:, :tokens] += row
        plans = [plan(policy, budget, tokens, known) for policy, budget in SETTINGS]
        seen, marginal = (torch.stack(part).unflatten(1, (layers, -1)) for part in zip(*plans))
        Step.seen, Step.marginal = seen.unbind(1), marginal.unbind(1)
        ids = torch.full((len(SETTINGS), 1), token)
        result = large(ids, cache=cache, output_attentions=True)
        known["h2o"][:, :tokens] += torch.cat([layer[0, :, 0] for layer in result.attentions])
        logs = result.logits[:, -1].log_softmax(-1)
        divergence += (logs[0].exp() * (logs[0] - logs)).sum(-1)
    return divergence / len(continuation)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("large", "small", "texts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    large, small = load(options.large), load(options.small)
    with open(options.texts) as file:
        texts = json.load(file)[: options.limit]
    wall, used = time.monotonic(), time.process_time()
    results = torch.stack([study(large, small, prompt, rest[: options.steps]) for prompt, rest in texts])
    print(json.dumps({
        "prompts": len(texts),
        "settings": [f"{policy} {budget}" for policy, budget in SETTINGS],
        "divergence": [round(value, 5) for value in results.mean(0).tolist()],
        "processorSeconds": time.process_time() - used,
        "wallSeconds": time.monotonic() - wall,
        "peakBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }))


if __name__ == "__main__":
    main()
