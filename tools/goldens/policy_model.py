"""A plain forward pass on the weights of a transformers model, whose attention is a function.

Norms, projections, rotation and MLP follow the Llama family (biases and query-key norms as the model
has them); `check` compares the full-cache logits with transformers' own.
"""

import torch
import transformers

CENTER_POSITIONS = 4096


def rms_norm(norm, x):
    return norm.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon))


def rotate(x, positions, frequencies):
    """Half-split rotation of x [..., positions, heads, head_dim] by absolute positions."""
    angles = positions.to(x.dtype)[..., None] * frequencies.to(x.dtype)
    cosine, sine = (torch.cat([f(angles)] * 2, -1).unsqueeze(-2) for f in (torch.cos, torch.sin))
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


class Model:
    """A transformers model whose layers are run one by one."""

    def __init__(self, inner):
        self.inner, self.config = inner, inner.config
        self.layers = list(inner.model.layers)
        self.query_heads = self.config.num_attention_heads
        self.kv_heads = self.config.num_key_value_heads
        self.group = self.query_heads // self.kv_heads
        attention = self.layers[0].self_attn
        self.head_dim = attention.head_dim
        self.frequencies = inner.model.rotary_emb.inv_freq
        self.caches_halves = True
        self.centers = [self.center(layer.self_attn) for layer in self.layers]

    def center(self, attention):
        """What cached keys are without, [kv heads, head_dim]: the mean of their rotated bias."""
        bias = attention.k_proj.bias
        if bias is None or hasattr(attention, "k_norm"):
            return torch.zeros(self.kv_heads, self.head_dim)
        everywhere = bias.unflatten(-1, (-1, self.head_dim)).expand(CENTER_POSITIONS, -1, -1)
        return rotate(everywhere, torch.arange(CENTER_POSITIONS), self.frequencies).mean(0)

    def halves(self, layer, keys, values):
        """Keys and values [..., kv heads, head_dim] after two bytes a number held them."""
        center = self.centers[layer].to(keys.dtype)
        rounded = lambda x: x.to(torch.float16).to(x.dtype)
        return rounded(keys - center) + center, rounded(values)

    def forward(self, tokens, positions, attend):
        """Logits [..., vocabulary] of tokens [...] at positions [...].

        attend(layer, queries, keys, values) gets [..., heads, head_dim] and returns what each
        query head saw, [..., query heads, head_dim].
        """
        x = self.inner.model.embed_tokens(tokens)
        for index, layer in enumerate(self.layers):
            block, normed = layer.self_attn, rms_norm(layer.input_layernorm, x)
            heads = lambda y: y.unflatten(-1, (-1, self.head_dim))
            q, k, v = (heads(p(normed)) for p in (block.q_proj, block.k_proj, block.v_proj))
            if hasattr(block, "q_norm"):
                q, k = rms_norm(block.q_norm, q), rms_norm(block.k_norm, k)
            q, k = (rotate(y, positions, self.frequencies) for y in (q, k))
            if self.caches_halves:
                k, v = self.halves(index, k, v)
            x = x + block.o_proj(attend(index, q, k, v).flatten(-2))
            x = x + layer.mlp(rms_norm(layer.post_attention_layernorm, x))
        return self.inner.lm_head(rms_norm(self.inner.model.norm, x))

    def prefill(self, tokens):
        """Exact attention over a prompt: (last logits, per layer keys, values, maps).

        Keys and values are [positions, kv heads, head_dim], maps [query heads, positions, positions].
        """
        keys, values, maps = [], [], []
        future = torch.ones(len(tokens), len(tokens), dtype=torch.bool).triu(1)

        def attend(_, q, k, v):
            keys.append(k), values.append(v)
            wide_k, wide_v = (y.repeat_interleave(self.group, 1) for y in (k, v))
            scores = torch.einsum("qhd,khd->hqk", q, wide_k) / self.head_dim**0.5
            maps.append(torch.softmax(scores.masked_fill(future, -torch.inf), -1))
            return torch.einsum("hqk,khd->qhd", maps[-1], wide_v)

        positions = torch.arange(len(tokens))
        logits = self.forward(torch.tensor(tokens), positions, attend)
        return logits[-1], keys, values, maps

    def exact_maps(self, tokens):
        """Maps of `prefill` without rounding of keys and values."""
        self.caches_halves = False
        maps = self.prefill(tokens)[-1]
        self.caches_halves = True
        return maps


def load(folder, dtype=torch.float64, **options):
    """A model in inference mode."""
    inner = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", **options
    )
    return Model(inner.eval().requires_grad_(False))


def check(model, tokens):
    """Raises where the own pass and transformers' differ by more than halves in the cache explain."""
    logits = model.prefill(tokens)[0]
    theirs = model.inner(torch.tensor([tokens])).logits[0, -1]
    error = (logits - theirs).abs().max().item() / theirs.abs().max().item()
    if error > 5e-3:
        raise ValueError(f"The passes differ by {error}")
