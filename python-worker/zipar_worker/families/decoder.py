"""The transformer decoder that all families share: Llama's, with the few things in which its descendants differ.

Parameters have the names of transformers' Llama, but the projections that read one input are one matrix, and so are the
norms of queries and keys: `LLAMA_KEYS` says which tensors of a file stand behind one another in each.
B counts batch rows, Q queries per row. Which slots exist and who sees them is the attention's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.key_map import Rules
from zipar_worker.checkpoints.share import Share, take_share_
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.execute.linear import Linear, MergedLinear
from zipar_worker.execute.ranks import Ranks

Rotation: TypeAlias = Callable[[Tensor], Tensor]
"""Rotates heads [B, Q, heads, head_dim] by the positions of a step's queries."""

LLAMA_KEYS: Rules = (
    (r"\.qkv_proj\.", (".q_proj.", ".k_proj.", ".v_proj.")),
    (r"\.qk_norm\.", (".q_norm.", ".k_norm.")),
    (r"\.gate_up_proj\.", (".gate_proj.", ".up_proj.")),
)

_LAYER_NORM_EPSILON = 1e-5
"""Of Chameleon's head norms, whatever its configuration says of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Sizes, and what a descendant of Llama does otherwise."""

    dim: int
    layer_count: int
    head_count: int
    kv_head_count: int
    head_dim: int
    feed_forward_width: int
    norm_epsilon: float
    head_norm: Literal["rms", "layer"] | None = None
    """Whether each head of queries and keys is normalised before it is rotated, as in Qwen3 or as in Chameleon."""
    has_qkv_bias: bool = False
    """As in Qwen2."""
    gate: Literal["silu", "gelu-tanh"] = "silu"
    """The activation of the feed-forward's gate: Llama's, or Gemma's."""
    norms_add_one: bool = False
    """Whether norms store what is added to 1, as in Gemma, which multiplies in float32 before it rounds."""
    has_output_norms: bool = False
    """Norms of what attention and feed-forward add, in place of what they read, as in Chameleon-34B."""
    inner_layer_count: int | None = None
    """Of the layers, how many are a stack with a final norm of its own, below those of another, as in STAR."""

    @property
    def kv_shape(self) -> KvShape:
        return KvShape(self.layer_count, self.kv_head_count, self.head_dim)


class Decoder(nn.Module):
    """All layers and the final norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.layer_count))
        if config.inner_layer_count is not None:
            self.inner_norm = _norm(config)
        self.norm = _norm(config)

    def forward(self, hidden: Tensor, rotate: Rotation, attention: Attention) -> Tensor:
        """hidden: [B, Q, dim] -> [B, Q, dim]"""
        for index, layer in enumerate(self.layers):
            if index == self.config.inner_layer_count:
                hidden = self.inner_norm(hidden)
            hidden = layer(hidden, rotate, attention)
        normed: Tensor = self.norm(hidden)
        return normed


class Layer(nn.Module):
    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.has_output_norms = config.has_output_norms
        self.input_layernorm = _norm(config)
        self.self_attn = SelfAttention(config, index)
        self.post_attention_layernorm = _norm(config)
        self.mlp = FeedForward(config)

    def forward(self, hidden: Tensor, rotate: Rotation, attention: Attention) -> Tensor:
        if self.has_output_norms:
            hidden = hidden + self.input_layernorm(self.self_attn(hidden, rotate, attention))
            change: Tensor = self.post_attention_layernorm(self.mlp(hidden))
        else:
            hidden = hidden + self.self_attn(self.input_layernorm(hidden), rotate, attention)
            change = self.mlp(self.post_attention_layernorm(hidden))
        return hidden + change


class SelfAttention(nn.Module):
    """Grouped-query attention: `head_count` heads share the K and V of `kv_head_count`."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.layer = index
        self.head_dim = config.head_dim
        self.head_counts = (config.head_count, config.kv_head_count)
        sizes = tuple(count * config.head_dim for count in (*self.head_counts, config.kv_head_count))
        self.qkv_proj = MergedLinear(config.dim, sizes, bias=config.has_qkv_bias, split="outputs")
        self.qk_norm = HeadNorm(config, self.head_counts) if config.head_norm is not None else nn.Identity()
        self.o_proj = Linear(config.head_count * config.head_dim, config.dim, split="inputs")

    def forward(self, x: Tensor, rotate: Rotation, attention: Attention) -> Tensor:
        heads: Tensor = self.qkv_proj(x).view(*x.shape[:2], -1, self.head_dim)  # those of queries, of keys, of values
        query_count, rotated_count = self.head_counts[0], sum(self.head_counts)
        rotated = rotate(self.qk_norm(heads[:, :, :rotated_count]))
        queries, keys, values = rotated[:, :, :query_count], rotated[:, :, query_count:], heads[:, :, rotated_count:]
        result: Tensor = self.o_proj(attention(self.layer, queries, keys, values).flatten(2))
        return result

    def split_(self, ranks: Ranks) -> None:
        """Leaves this rank its heads; its parts split themselves."""
        query_count, kv_count = self.head_counts
        self.head_counts = (query_count // ranks.count, kv_count // ranks.count)


class FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.approximates = config.gate == "gelu-tanh"
        width = config.feed_forward_width
        self.gate_up_proj = MergedLinear(config.dim, (width, width), split="outputs")
        self.down_proj = Linear(width, config.dim, split="inputs")

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        opened = functional.gelu(gate, approximate="tanh") if self.approximates else functional.silu(gate)
        result: Tensor = self.down_proj(opened * up)
        return result


class RMSNorm(nn.Module):
    """Normalised in float32 and rounded to the number type of `x` before it is weighted, as in the official codes."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim), requires_grad=False)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., dim]"""
        return functional.rms_norm(x, x.shape[-1:], eps=self.epsilon) * self.weight


class OffsetRMSNorm(RMSNorm):
    """Weighted by 1 and what is stored, all of it in float32, and then rounded, as in Gemma."""

    def forward(self, x: Tensor) -> Tensor:
        weight = 1 + self.weight.float()
        return functional.rms_norm(x.float(), x.shape[-1:], weight, eps=self.epsilon).to(x.dtype)


class HeadNorm(nn.Module):
    """Normalises each head, with weights of its own: [heads, head_dim], those of queries before those of keys."""

    bias: nn.Parameter | None

    def __init__(self, config: DecoderConfig, part_sizes: tuple[int, int]) -> None:
        super().__init__()
        self.part_sizes = part_sizes
        self.epsilon = config.norm_epsilon
        shape = (sum(part_sizes), config.head_dim)
        self.weight = nn.Parameter(torch.empty(shape), requires_grad=False)
        has_bias = config.head_norm == "layer"
        self.bias = nn.Parameter(torch.empty(shape), requires_grad=False) if has_bias else None

    def forward(self, heads: Tensor) -> Tensor:
        """heads: [B, Q, heads, head_dim]"""
        if self.bias is None:
            return functional.rms_norm(heads, heads.shape[-1:], eps=self.epsilon) * self.weight
        return functional.layer_norm(heads, heads.shape[-1:], eps=_LAYER_NORM_EPSILON) * self.weight + self.bias

    def split_(self, ranks: Ranks) -> None:
        share = Share(0, self.part_sizes, ranks.rank, ranks.count)
        take_share_(self, {"weight": share} if self.bias is None else {"weight": share, "bias": share})


class Rotary(nn.Module):
    """Llama's rotary embedding: the first half of a head's numbers is turned against the second, as in transformers.

    Interleaved, each even number is turned against the one behind it, as in Meta's own files.

    Angles are computed in float32; their sines and cosines are rounded to the number type of the heads.
    """

    frequencies: Tensor

    def __init__(self, head_dim: int, base: float, *, is_interleaved: bool = False) -> None:
        super().__init__()
        self.is_interleaved = is_interleaved
        # Computed, not loaded: real even where the parameters are on the meta device.
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
        self.register_buffer("frequencies", 1.0 / base**exponents, persistent=False)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Rotation:
        """positions: int64 [B, Q]; dtype: that of the heads."""
        angles = positions[:, :, None, None].float() * self.frequencies
        cosines, sines = angles.cos().to(dtype), angles.sin().to(dtype)

        def rotate(heads: Tensor) -> Tensor:
            first, second = (heads[..., ::2], heads[..., 1::2]) if self.is_interleaved else heads.chunk(2, dim=-1)
            turned = (first * cosines - second * sines, second * cosines + first * sines)
            return torch.stack(turned, dim=-1).flatten(-2) if self.is_interleaved else torch.cat(turned, dim=-1)

        return rotate


def _norm(config: DecoderConfig) -> RMSNorm:
    return (OffsetRMSNorm if config.norms_add_one else RMSNorm)(config.dim, config.norm_epsilon)


def repeat_head_norms(name: str, stored: Tensor, rows: int) -> Tensor:
    """One row for each of `rows` heads, of a norm stored once for all of them or once for each of several groups.

    An `adapt` of `load_module_`: other tensors, and shapes that do not fit, are left as they are for it to judge.
    """
    if ".qk_norm." not in name:
        return stored
    groups = stored if stored.dim() > 1 else stored[None]
    return stored if rows % groups.shape[0] else groups.repeat_interleave(rows // groups.shape[0], dim=0)
