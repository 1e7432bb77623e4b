"""A small Qwen2 decoder whose parameters are named as in transformers, so that its weights export as they are."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-6
ROPE_THETA = 10000.0


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a model, named as in its config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads of each KV head."""
        return self.num_attention_heads // self.num_key_value_heads


def rope_frequencies(head_dim: int) -> Tensor:
    """Rotation of each pair of dimensions from one position to the next, in radians [head_dim / 2]."""
    return ROPE_THETA ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def rotate(states: Tensor) -> Tensor:
    """Rotates queries or keys [batch, head, position, dimension] by their positions."""
    half = states.shape[-1] // 2
    positions = torch.arange(states.shape[-2], dtype=torch.float32, device=states.device)
    angles = positions[:, None] * rope_frequencies(states.shape[-1]).to(states.device)
    first, second = states[..., :half], states[..., half:]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Norm(nn.Module):
    """Root mean square norm."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, states: Tensor) -> Tensor:
        return functional.rms_norm(states, (states.shape[-1],), self.weight, NORM_EPSILON)


class Attention(nn.Module):
    """Causal attention with grouped query heads."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        queries = shape.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, queries)
        self.k_proj = nn.Linear(shape.hidden_size, keys)
        self.v_proj = nn.Linear(shape.hidden_size, keys)
        self.o_proj = nn.Linear(queries, shape.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        batch, length, _ = states.shape
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (
            projection(states).view(batch, length, -1, self.shape.head_dim).transpose(1, 2).float()
            for projection in projections
        )
        key, value = (heads.repeat_interleave(self.shape.group, 1) for heads in (rotate(key), value))
        with torch.autocast(states.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(rotate(query), key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    """Gated feed-forward part."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))


class Layer(nn.Module):
    """Attention and feed-forward part, each after a norm and with a shortcut."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden_size)
        self.post_attention_layernorm = Norm(shape.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.self_attn(self.input_layernorm(states))
        return states + self.mlp(self.post_attention_layernorm(states))


class Trunk(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embed_tokens(ids)
        for layer in self.layers:
            states = layer(states)
        return self.norm(states)


class Decoder(nn.Module):
    """The model; input and output embedding are one."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)

    def head(self, states: Tensor) -> Tensor:
        """Logits [..., vocab_size] of states after the last norm."""
        return functional.linear(states, self.model.embed_tokens.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, position, vocab_size] of ids [batch, position]."""
        return self.head(self.model(ids))
