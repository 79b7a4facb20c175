"""LlamaGen's transformer, for classes or captions, with the parameter names of its official checkpoints.

Facts: `autoregressive/models/gpt.py` of FoundationVision/LlamaGen (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.execute.attention import Attention
from zipar_worker.execute.linear import Linear

NORM_EPSILON = 1e-5
ROTARY_BASE = 10000.0


@dataclass(frozen=True, slots=True)
class ClassCondition:
    """One embedding, of a class. `class_count` leaves the null class out: index `class_count` of the table."""

    class_count: int
    length: int = 1


@dataclass(frozen=True, slots=True)
class CaptionCondition:
    """The features of a caption's tokens: [length, feature_dim], whatever the number of tokens."""

    length: int
    feature_dim: int


@dataclass(frozen=True, slots=True)
class LlamaGenConfig:
    """Sizes of the transformer. The condition's slots come first, then those of the token grid in raster order."""

    dim: int
    layer_count: int
    head_count: int
    kv_head_count: int
    vocabulary_size: int
    condition: ClassCondition | CaptionCondition
    rows: int
    columns: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.head_count

    @property
    def feed_forward_width(self) -> int:
        """Two thirds of `4 * dim`, rounded up to a multiple of 256."""
        return ceil((8 * self.dim // 3) / 256) * 256


class LlamaGenTransformer(nn.Module):
    """Embeddings, layers and head. Which slots exist and who sees them is the caller's business."""

    rotations: Tensor

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        condition = config.condition
        self.cls_embedding: ClassEmbedding | CaptionEmbedding = (
            ClassEmbedding(condition, config.dim)
            if isinstance(condition, ClassCondition)
            else CaptionEmbedding(condition, config.dim)
        )
        self.tok_embeddings = nn.Embedding(config.vocabulary_size, config.dim)
        self.layers = nn.ModuleList([Layer(config, index) for index in range(config.layer_count)])
        self.norm = nn.RMSNorm(config.dim, NORM_EPSILON)
        self.output = Linear(config.dim, config.vocabulary_size)
        # Computed, not loaded: real even where the parameters are on the meta device.
        rotations = slot_rotations(condition.length, config.rows, config.columns, config.head_dim)
        self.register_buffer("rotations", rotations, persistent=False)

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """embeddings: [B, Q, dim], positions: int64 [B, Q] -> normalised hidden [B, Q, dim]"""
        rotation = self.rotations[positions].unsqueeze(2)
        hidden = embeddings
        for layer in self.layers:
            hidden = layer(hidden, rotation, attention)
        normed: Tensor = self.norm(hidden)
        return normed


class ClassEmbedding(nn.Module):
    def __init__(self, condition: ClassCondition, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(condition.class_count + 1, dim)


class CaptionEmbedding(nn.Module):
    """`uncond_embedding`: the features that stand for no caption, [length, feature_dim]."""

    def __init__(self, condition: CaptionCondition, dim: int) -> None:
        super().__init__()
        self.cap_proj = CaptionProjection(condition.feature_dim, dim)
        self.uncond_embedding = nn.Parameter(torch.empty(condition.length, condition.feature_dim), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """features: [B, length, feature_dim] -> [B, length, dim]"""
        embeddings: Tensor = self.cap_proj(features)
        return embeddings


class CaptionProjection(nn.Module):
    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(feature_dim, dim)
        self.fc2 = Linear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(features), approximate="tanh"))
        return result


class Layer(nn.Module):
    def __init__(self, config: LlamaGenConfig, index: int) -> None:
        super().__init__()
        self.attention = AttentionLayer(config, index)
        self.feed_forward = FeedForward(config)
        self.attention_norm = nn.RMSNorm(config.dim, NORM_EPSILON)
        self.ffn_norm = nn.RMSNorm(config.dim, NORM_EPSILON)

    def forward(self, hidden: Tensor, rotation: Tensor, attention: Attention) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden), rotation, attention)
        result: Tensor = hidden + self.feed_forward(self.ffn_norm(hidden))
        return result


class AttentionLayer(nn.Module):
    def __init__(self, config: LlamaGenConfig, index: int) -> None:
        super().__init__()
        self.layer = index
        self.head_count = config.head_count
        self.kv_head_count = config.kv_head_count
        self.head_dim = config.head_dim
        self.wqkv = Linear(config.dim, (config.head_count + 2 * config.kv_head_count) * config.head_dim)
        self.wo = Linear(config.dim, config.dim)

    def forward(self, x: Tensor, rotation: Tensor, attention: Attention) -> Tensor:
        rotated_count = self.head_count + self.kv_head_count
        heads: Tensor = self.wqkv(x).view(*x.shape[:2], -1, self.head_dim)  # [B, Q, heads + 2 kv heads, head_dim]
        rotated = rotate(heads[:, :, :rotated_count], rotation)
        queries, keys = rotated[:, :, : self.head_count], rotated[:, :, self.head_count :]
        attended: Tensor = self.wo(attention(self.layer, queries, keys, heads[:, :, rotated_count:]).flatten(2))
        return attended


class FeedForward(nn.Module):
    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        self.w1 = Linear(config.dim, config.feed_forward_width)
        self.w3 = Linear(config.dim, config.feed_forward_width)
        self.w2 = Linear(config.feed_forward_width, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return result


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Rotates adjacent pairs in float32. heads: [B, Q, heads, D]; rotation: complex64 [B, Q, 1, D / 2]"""
    pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation).flatten(3).to(heads.dtype)


def slot_rotations(condition_length: int, rows: int, columns: int, head_dim: int) -> Tensor:
    """What each slot is rotated by: complex64 [condition_length + rows * columns, head_dim / 2].

    The first half of the pairs turns with the row, the second with the column. The condition's entries are 0, not 1:
    its queries and keys vanish, as in the official code, whose table has cos = sin = 0 there.
    """
    quarter = head_dim // 4
    frequencies = 1.0 / ROTARY_BASE ** (torch.arange(quarter, device="cpu", dtype=torch.float32) / quarter)
    row_angles = torch.outer(torch.arange(rows, device="cpu", dtype=torch.float32), frequencies)
    column_angles = torch.outer(torch.arange(columns, device="cpu", dtype=torch.float32), frequencies)
    angles = torch.cat(
        (
            row_angles[:, None].expand(rows, columns, quarter),
            column_angles[None].expand(rows, columns, quarter),
        ),
        dim=-1,
    ).flatten(0, 1)
    condition = torch.zeros(condition_length, 2 * quarter, dtype=torch.complex64, device="cpu")
    return torch.cat((condition, torch.polar(torch.ones_like(angles), angles)))
