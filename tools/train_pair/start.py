"""Starting weights that make retrieval learnable in a million tokens, and the growth of the large model.

Left to chance, models of this size do not find out within two million tokens how to copy from context.
Three things in the starting weights help: the query heads of the first layer look a few tokens back,
a head above it compares contents and writes what it reads, and the begin token attracts the
attention that no other token deserves (a sink).
"""

import math

import torch
from torch import Tensor

from model import Attention, Decoder, Layer, Shape, rope_frequencies

EMBEDDING_DEVIATION = 0.08
BEGIN_TOKEN = 0
# A head above the first layer asks for what resembles the present token: these shares of its key and of chance.
ALIKE, CHANCE = 0.8, 0.6


def started(shape: Shape, settings: dict, seed: int) -> Decoder:
    """A model with starting weights."""
    torch.manual_seed(seed)
    model = Decoder(shape)
    torch.nn.init.normal_(model.model.embed_tokens.weight, 0, EMBEDDING_DEVIATION)
    begin = model.model.embed_tokens.weight[BEGIN_TOKEN].detach()
    for index, layer in enumerate(model.model.layers):
        start_layer(layer, settings, begin=begin, is_first=index == 0)
    return model


@torch.no_grad()
def start_layer(layer: Layer, settings: dict, *, begin: Tensor, is_first: bool) -> None:
    """Gives a layer starting weights; `begin` is the embedding of the begin token."""
    shape = layer.self_attn.shape
    deviation = shape.hidden_size**-0.5
    for name, parameter in layer.named_parameters():
        if parameter.dim() == 2:
            writes = "o_proj" in name or "down_proj" in name
            parameter.normal_(0, deviation / math.sqrt(2 * shape.num_hidden_layers) if writes else deviation)
        elif name.endswith("bias"):
            parameter.zero_()
    attention = layer.self_attn
    if is_first:
        share_values(attention)
        attention.q_proj.weight *= 0.5
        look_back(attention, settings["look_back"], settings["look_back_scale"])
    else:
        ask_for_alike(attention)
        add_sink(attention, begin, settings["sink"])
    write_what_is_read(attention, settings["copy"])


def heads_of(attention: Attention):
    """Rows of each query head and of the KV head that it reads."""
    size = attention.shape.head_dim
    for head in range(attention.shape.num_attention_heads):
        shared = head // attention.shape.group
        yield head, slice(head * size, (head + 1) * size), slice(shared * size, (shared + 1) * size)


def share_values(attention: Attention) -> None:
    """Makes all heads write into one subspace, where what lies at different distances can be compared."""
    size = attention.shape.head_dim
    attention.v_proj.weight.copy_(attention.v_proj.weight[:size].repeat(attention.shape.num_key_value_heads, 1))


def write_what_is_read(attention: Attention, share: float) -> None:
    """Sets the output of each head to so much of the transpose of its values."""
    for _, query, shared in heads_of(attention):
        attention.o_proj.weight[:, query] = share * attention.v_proj.weight[shared].T


def ask_for_alike(attention: Attention) -> None:
    """Turns queries toward keys of the same content."""
    for _, query, shared in heads_of(attention):
        attention.q_proj.weight[query] = (
            ALIKE * attention.k_proj.weight[shared] + CHANCE * attention.q_proj.weight[query]
        )


def look_back(attention: Attention, distances: list[int], scale: float) -> None:
    """Lets query head h look `distances[h]` tokens back, if given, through biases on the fast rotary pairs."""
    half = attention.shape.head_dim // 2
    fast = torch.exp(-torch.arange(half) / 4)
    fast *= scale * math.sqrt(half) / fast.norm()
    for (_, query, shared), distance in zip(heads_of(attention), distances, strict=False):
        angles = -distance * rope_frequencies(attention.shape.head_dim)
        attention.k_proj.bias[shared] = torch.cat([fast, torch.zeros(half)])
        attention.q_proj.bias[query] = torch.cat([fast * angles.cos(), fast * angles.sin()])


def add_sink(attention: Attention, begin: Tensor, logit: float) -> None:
    """Reserves the slowest rotary pair of every head for the begin token, which gets this logit and no value."""
    shape = attention.shape
    half = shape.head_dim // 2
    toward = begin / begin.norm()
    strength = math.sqrt(logit * math.sqrt(shape.head_dim))
    for _, query, shared in heads_of(attention):
        for row in (half - 1, shape.head_dim - 1):
            attention.q_proj.weight[query][row] = 0
            attention.k_proj.weight[shared][row] = 0
        attention.q_proj.bias[query][half - 1] = strength
        # A norm has made the state of the begin token as long as the root of its size.
        attention.k_proj.weight[shared][half - 1] = strength * toward / math.sqrt(shape.hidden_size)
    values = attention.v_proj.weight
    values -= torch.outer(values @ toward, toward)


@torch.no_grad()
def grown(ancestor: Decoder, shape: Shape, plan: dict, seed: int) -> Decoder:
    """A deeper and wider model that begins by doing what its ancestor does.

    `plan["growth"]["layers"]` names the ancestor's layer for each layer, or None for a new one. What is new
    writes little at first.
    """
    scale = plan["growth"]["new_part_scale"]
    model = started(shape, plan["start"], seed)
    model.model.embed_tokens.weight.copy_(ancestor.model.embed_tokens.weight)
    model.model.norm.weight.copy_(ancestor.model.norm.weight)
    begin = model.model.embed_tokens.weight[BEGIN_TOKEN]
    for index, (layer, source) in enumerate(zip(model.model.layers, plan["growth"]["layers"], strict=True)):
        start_layer(layer, plan["start"], begin=begin, is_first=index == 0)
        layer.self_attn.o_proj.weight *= scale
        layer.mlp.down_proj.weight *= scale
        if source is None:
            continue
        parts = dict(ancestor.model.layers[source].named_parameters())
        for name, parameter in layer.named_parameters():
            corner = tuple(slice(0, size) for size in parts[name].shape)
            parameter[corner] = parts[name]
    return model
