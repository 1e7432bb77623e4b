"""Decodes under cache policies as published, several variants of one prompt side by side.

Every variant keeps all keys and values in memory and looks only at what its policy keeps, so that
nothing here depends on how a cache is stored.
"""

import numpy
import torch

from policy_model import rotate
from policy_rules import FEWEST, WINDOW, choose, evict, floor_of, match_heads, near_edge
from policy_rules import near_ties, pyramid_ratios, ranked, small_kv_counts, without_marginal

SINKS, PYRAMID_INTERVAL, DECAY_ROWS, SNAP_ROWS, SNAP_SIDE = 4, 16, 32, 32, 3
DROPPING = ("h2o", "tova", "pyramid_budget", "snapkv", "without_small_model")


def grouped(rows, units):
    """Mean over the query heads that share a selection, [query heads, n] to [units, n]."""
    return rows.reshape(units, -1, rows.shape[-1]).mean(1)


def longer(sums):
    """Room for one more token."""
    return numpy.pad(sums, ((0, 0), (0, 1)))


def stacked(maps):
    return numpy.concatenate([layer.double().numpy() for layer in maps])


class Prompt:
    """Both models' exact passes over a prompt."""

    def __init__(self, large, small, tokens):
        self.tokens = list(tokens)
        self.logits, self.keys, self.values, maps = large.prefill(tokens)
        self.small_keys, self.small_values, small_maps = small.prefill(tokens)[1:]
        self.own, self.guide = stacked(maps), stacked(small_maps)

    def match(self, large, small, heads=1):
        """Matched small head of every large head, over the leading window; as many share one."""
        window = self.tokens[:WINDOW]
        own, guide = (stacked(model.exact_maps(window)).sum(1) for model in (large, small))
        own = grouped(own, len(own) // heads)
        return match_heads(own, guide, (len(large.layers), len(small.layers))).repeat(heads)


class Guide:
    """The small model's scores and its match to the large one."""

    def __init__(self, setting, models, prompt):
        self.models, self.tokens = models, prompt.tokens
        # Heads that share a match.
        self.shared = models[0].group if setting.get("granularity") == "kv_match" else 1
        score = setting.get("score", "accumulated")
        self.keep = {"accumulated": 1.0, "decayed": setting.get("decay", 0.8), "row": 0.0}[score]
        self.match = prompt.match(*models, self.shared) if len(self.tokens) >= FEWEST else None
        rows = prompt.guide if score == "accumulated" else prompt.guide[:, -DECAY_ROWS:]
        weights = self.keep ** numpy.arange(rows.shape[1])[::-1]
        self.saliency = (rows * weights[None, :, None]).sum(1)

    def step(self, token, row):
        """Takes the row of the current token, [small heads, n]."""
        self.row, self.tokens = row, [*self.tokens, token]
        self.saliency = longer(self.saliency) * self.keep + row
        if self.match is None and len(self.tokens) >= FEWEST:
            self.match = Prompt(*self.models, self.tokens).match(*self.models, self.shared)

    def of_layer(self, layer):
        """Matched small heads of a layer's query heads."""
        return self.match.reshape(len(self.models[0].layers), -1)[layer]


class Variant:
    """One policy at one budget: its caches, scores and kept tokens."""

    def __init__(self, setting, models, prompt):
        self.policy, self.ratio = setting["policy"], setting["budget"]
        self.combine = setting.get("combine", "joint")
        self.counts_slots = setting.get("positions") == "slot"
        self.large = models[0]
        self.n, self.steps = len(prompt.tokens), 0
        self.keys, self.values = list(prompt.keys), list(prompt.values)
        self.small_keys, self.small_values = list(prompt.small_keys), list(prompt.small_values)
        self.guide = Guide(setting, models, prompt)
        layers, heads = len(self.keys), self.large.query_heads
        self.marginal = setting.get("marginal", True)
        # PyramidInfer and TOVA choose once a layer, the others for each KV head.
        usual = "layer" if self.policy in ("tova", "pyramid_budget") else "kv_head"
        units = {"layer": 1, "query_head": heads, "kv_head": self.large.kv_heads}
        self.units = units.get(setting.get("granularity", usual), self.large.kv_heads)
        own = prompt.own.reshape(layers, heads, self.n, self.n)
        self.ring = [list(layer.mean(0)) for layer in own]
        self.sums = [grouped(layer.sum(1), self.units) for layer in own]
        self.last = [layer[:, -1] for layer in own]
        self.kept = [[list(range(self.n))] * self.units for _ in own]
        self.planned = None
        self.prompt = self.n
        self.end_rows = [layer[:, -SNAP_ROWS:].sum(1) for layer in own]
        self.near = [[[] for _ in range(self.units)] for _ in own]
        self.drop_if_due()

    def small_step(self, token, row):
        """Takes the small model's row of the current token and chooses what the step sees."""
        self.guide.step(token, row)
        self.n += 1
        self.steps += 1
        self.tiers = [self.tiers_of(layer) for layer in range(len(self.keys))]

    def tiers_of(self, layer):
        units, n = self.units, self.n
        if self.policy == "smallkv" and n >= FEWEST:
            scores = grouped(self.guide.saliency[self.guide.of_layer(layer)], units)
            counts = self.counts()
            self.near[layer] = [near_ties(s, n, counts) for s in scores]
            return [choose(s, n, counts) for s in scores]
        if self.policy == "streaming" and n >= FEWEST:
            capacity = max(1, floor_of(self.ratio, n))
            sinks = min(SINKS, capacity - 1)
            return ["k" * sinks + "." * (n - capacity) + "k" * (capacity - sinks)] * units
        if self.policy in DROPPING:
            kept = [set(k) | {n - 1} for k in self.kept[layer]]
            return ["".join("k" if t in k else "." for t in range(n)) for k in kept]
        return ["k" * n] * units

    def counts(self):
        """Critical, recent and marginal tokens of SmallKV and its ablations."""
        counts = small_kv_counts(self.ratio, self.n)
        return counts if self.marginal else without_marginal(counts)

    def attend(self, layer, q, k, v):
        """What the query heads of the current token see, [query heads, head_dim]."""
        model = self.large
        self.keys[layer] = keys = torch.cat([self.keys[layer], k[None]])
        self.values[layer] = values = torch.cat([self.values[layer], v[None]])
        wide = lambda x: x.repeat_interleave(model.group, 1)
        letters = numpy.array([list(row) for row in self.tiers[layer]])
        alike = model.query_heads // self.units
        spread = lambda mask: torch.from_numpy(mask).repeat_interleave(alike, 0)
        full, marginal = spread((letters != ".") & (letters != "m")), spread(letters == "m")
        seen = self.at_slots(layer, wide(keys), full) if self.counts_slots else wide(keys)
        scores = torch.einsum("hd,khd->hk", q, seen) / model.head_dim**0.5
        scores = scores.masked_fill(~full, -torch.inf)
        row = torch.softmax(scores, -1)
        self.last[layer] = row.double().numpy()
        exact = torch.einsum("hk,khd->hd", row, wide(values))
        if not marginal.any():
            return exact
        guide = torch.from_numpy(self.guide.row[self.guide.of_layer(layer)]).to(exact.dtype)
        added = torch.einsum("hk,khd->hd", guide * marginal, wide(values))
        kept_mass = (guide * full).sum(1, keepdim=True)
        marginal_mass = (guide * marginal).sum(1, keepdim=True)
        total = kept_mass + marginal_mass
        if self.combine == "joint_nosink":
            sinks = torch.arange(self.n) < SINKS
            known = torch.logsumexp(scores.masked_fill(sinks, -torch.inf), 1, keepdim=True)
            mass = (guide * (full & ~sinks)).sum(1, keepdim=True)
            pseudo = torch.log(guide) + known - torch.log(mass)
            return torch.einsum(
                "hk,khd->hd", torch.softmax(torch.where(marginal, pseudo, scores), -1), wide(values)
            )
        combined = {
            "joint": (kept_mass * exact + added) / total,
            "mass_split": (1 - marginal_mass) * exact + added,
            "additive": exact + added,
            "eq6_est": kept_mass * exact + added,
        }[self.combine]
        return torch.where(total < 1e-6, exact, combined) if self.combine == "joint" else combined

    def at_slots(self, layer, keys, full):
        """Keys [n, query heads, head_dim] moved next to each other, the newest one where it is."""
        after = full.flip(1).cumsum(1).flip(1)  # kept tokens from here on, [query heads, n]
        moves = self.n - after - torch.arange(self.n)
        moved = rotate(keys.transpose(0, 1)[:, :, None], moves, self.large.frequencies)[:, :, 0]
        center = self.large.centers[layer].to(keys.dtype)
        center = center.repeat_interleave(self.large.group, 0)[:, None]
        return ((moved - center).to(torch.float16).to(keys.dtype) + center).transpose(0, 1)

    def finish(self):
        """Closes a decode step: rows are summed over what was seen, then tokens are given up."""
        for layer, row in enumerate(self.last):
            self.ring[layer].append(row.mean(0))
            self.sums[layer] = longer(self.sums[layer]) + grouped(row, self.units)
            self.kept[layer] = [[*kept, self.n - 1] for kept in self.kept[layer]]
        self.drop_if_due()

    def drop_if_due(self):
        """Gives tokens up for good, after the prompt and after steps."""
        interval = PYRAMID_INTERVAL if self.policy == "pyramid_budget" else 1
        is_due = self.planned is None or self.n - self.planned >= interval
        if self.policy not in DROPPING or self.n < FEWEST or not is_due:
            return
        if self.policy == "snapkv" and self.planned is not None:
            return
        self.planned = self.n
        for layer, share in enumerate(pyramid_ratios(self.ratio, len(self.keys))):
            if self.policy == "pyramid_budget":
                near = self.reduce(layer, share)
            else:
                near = self.drop(layer)
            # What was near a border once stays doubtful.
            self.near[layer] = [sorted({*a, *b}) for a, b in zip(self.near[layer], near)]

    def drop(self, layer):
        """Eviction of H2O (smallest sums), TOVA (smallest current row), SnapKV (end of the prompt)."""
        capacity = max(1, floor_of(self.ratio, self.n))
        recent, rows = capacity - capacity // 2, self.sums[layer]
        if self.policy == "without_small_model":
            recent = without_marginal(small_kv_counts(self.ratio, self.n))[1]
        if self.policy == "tova":
            recent, rows = 1, grouped(self.last[layer], self.units)
        if self.policy == "snapkv":
            recent = min(SNAP_ROWS, capacity)
            rows = self.snap_scores(layer, recent)
        before, self.kept[layer] = self.kept[layer], []
        near = []
        for kept, scores in zip(before, rows):
            left = evict(kept, scores, capacity, recent)
            self.kept[layer].append(left)
            near.append(near_edge(scores, left[: len(left) - recent], sorted({*kept} - {*left})))
        return near

    def snap_scores(self, layer, recent):
        """Votes of the prompt's last rows, the largest of seven neighbors outside the window."""
        votes = grouped(self.end_rows[layer], self.units)[:, : self.n - recent]
        wide = numpy.pad(votes, ((0, 0), (SNAP_SIDE, SNAP_SIDE)))
        width = 2 * SNAP_SIDE + 1
        pooled = numpy.lib.stride_tricks.sliding_window_view(wide, width, axis=1).max(-1)
        return numpy.pad(pooled, ((0, 0), (0, recent)))

    def reduce(self, layer, share):
        """Reduction of pyramid_budget, one kept set a layer."""
        capacity = max(1, floor_of(share, self.n))
        recent = max(1, capacity // 3)
        sinks = min(SINKS, capacity - recent)
        scores = numpy.zeros(self.n)
        for weight, row in zip(numpy.linspace(1.0, 1.2, recent), self.ring[layer][-recent:]):
            scores[: len(row)] += weight * row
        kept = self.kept[layer][0]
        is_forced = lambda t: t < sinks or t >= self.n - recent
        order = ranked(scores, [t for t in kept if not is_forced(t)])
        best = capacity - sinks - recent
        self.kept[layer] = [sorted([*order[:best], *filter(is_forced, kept)])]
        return [near_edge(scores, order[:best], order[best:])]


def small_rows(variants, small, tokens):
    """Rows of the small model's full cache for one token of each variant."""
    collected = [[] for _ in variants]

    def attend(layer, q, k, v):
        outputs = []
        for index, variant in enumerate(variants):
            keys = torch.cat([variant.small_keys[layer], k[index][None]])
            values = torch.cat([variant.small_values[layer], v[index][None]])
            variant.small_keys[layer], variant.small_values[layer] = keys, values
            wide = lambda x: x.repeat_interleave(small.group, 1)
            scores = torch.einsum("hd,khd->hk", q[index], wide(keys)) / small.head_dim**0.5
            row = torch.softmax(scores, -1)
            collected[index].append(row.double().numpy())
            outputs.append(torch.einsum("hk,khd->hd", row, wide(values)))
        return torch.stack(outputs)

    small.forward(tokens, torch.full_like(tokens, variants[0].n), attend)
    return [numpy.concatenate(rows) for rows in collected]


@torch.no_grad()
def decode(models, prompt, settings, steps, forced=None):
    """Decodes a prompt under every setting, greedily or with given tokens.

    The first token comes from the exact prefill; step s feeds token s - 1 and is the first to see
    a compressed cache. Returns one record a setting: tokens and log-probabilities [steps + 1],
    tiers and near ties [steps][layer][kv head].
    """
    large, small = models
    exact = Prompt(large, small, prompt)
    variants = [Variant(setting, models, exact) for setting in settings]
    first = torch.log_softmax(exact.logits.double(), -1)
    records = [{"tokens": [], "logprobs": [first], "tiers": [], "near": []} for _ in variants]
    for step in range(steps + 1):
        for record in records:
            greedy = int(record["logprobs"][-1].argmax())
            record["tokens"].append(forced[step] if forced else greedy)
        if step == steps:
            break
        batch = torch.tensor([record["tokens"][-1] for record in records])
        for variant, token, row in zip(variants, batch.tolist(), small_rows(variants, small, batch)):
            variant.small_step(token, row)
        attend = lambda layer, q, k, v: torch.stack(
            [variant.attend(layer, q[i], k[i], v[i]) for i, variant in enumerate(variants)]
        )
        logits = large.forward(batch, torch.full_like(batch, variants[0].n - 1), attend)
        for variant, record, row in zip(variants, records, logits):
            record["logprobs"].append(torch.log_softmax(row.double(), -1))
            record["tiers"].append(variant.tiers)
            record["near"].append(list(variant.near))
            variant.finish()
    for variant, record in zip(variants, records):
        record["match"] = variant.guide.match
    return records
