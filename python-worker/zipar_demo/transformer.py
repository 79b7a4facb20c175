"""LlamaGen's transformer for training: all positions at once, causal, under the official state-dict keys.

Structure and keys follow FoundationVision/LlamaGen, autoregressive/models/gpt.py. The worker's own module runs the same
weights out of raster order; this one is deliberately separate and simple, so that each can check the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TransformerConfig:
    dim: int = 192
    layers: int = 6
    heads: int = 3
    vocab_size: int = 512
    rows: int = 16
    columns: int = 16
    class_count: int = 14

    @property
    def hidden_dim(self) -> int:
        """Width of the feed-forward layer: two thirds of 4 dim, rounded up to a multiple of 256."""
        return -(-int(8 * self.dim / 3) // 256) * 256

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


class KvMemory:
    """Keys and values of the positions so far, for sampling: [layers, 2, B, heads, 1 + rows * columns, head_dim]."""

    def __init__(self, config: TransformerConfig, batch: int) -> None:
        length = 1 + config.rows * config.columns
        self.stored = torch.zeros(config.layers, 2, batch, config.heads, length, config.head_dim)
        self.length = 0


class Transformer(nn.Module):
    """Class-conditional: position 0 is the class, position k > 0 is image token k - 1."""

    rotation: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding = nn.ModuleDict({"embedding_table": nn.Embedding(config.class_count + 1, config.dim)})
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.register_buffer("rotation", rotation_table(config), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """classes: [B], tokens: [B, T] -> logits of image tokens 0..T: [B, T + 1, vocab_size]."""
        hidden = torch.cat([self.embed_classes(classes), self.tok_embeddings(tokens)], dim=1)
        rotation = self.rotation[: hidden.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden, rotation, None, 0)
        logits: Tensor = self.output(self.norm(hidden))
        return logits

    def embed_classes(self, classes: Tensor) -> Tensor:
        """classes: [B], `class_count` is the null class -> [B, 1, dim]."""
        condition: Tensor = self.cls_embedding["embedding_table"](classes)[:, None]
        return condition

    def advance(self, hidden: Tensor, memory: KvMemory) -> Tensor:
        """The next position alone: hidden [B, 1, dim] -> logits [B, 1, vocab_size]; `memory` grows by it."""
        start = memory.length
        for layer, stored in zip(self.layers, memory.stored, strict=True):
            hidden = layer(hidden, self.rotation[start : start + 1], stored, start)
        memory.length = start + 1
        logits: Tensor = self.output(self.norm(hidden))
        return logits


class Block(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=1e-5)

    def forward(self, hidden: Tensor, rotation: Tensor, stored: Tensor | None, start: int) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden), rotation, stored, start)
        out: Tensor = hidden + self.feed_forward(self.ffn_norm(hidden))
        return out


class SelfAttention(nn.Module):
    """Causal over all positions; with stored keys and values, of one new position over those up to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.wqkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, hidden: Tensor, rotation: Tensor, stored: Tensor | None, start: int) -> Tensor:
        batch, length, dim = hidden.shape
        q, k, v = self.wqkv(hidden).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if stored is not None:
            stored[0, :, :, start], stored[1, :, :, start] = k[:, :, 0], v[:, :, 0]
            k, v = stored[:, :, :, : start + 1]
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=stored is None)
        out: Tensor = self.wo(attended.transpose(1, 2).reshape(batch, length, dim))
        return out


class FeedForward(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.dim, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(hidden)) * self.w3(hidden))
        return out


def rotation_table(config: TransformerConfig) -> Tensor:
    """Cosine and sine per position: [1 + rows * columns, head_dim / 2, 2]; 0 for the class, which is thus not rotated
    but erased from q and k, as in the official code. The first half of the pairs turns with the row, the second with
    the column."""
    half = config.head_dim // 2
    frequencies = 10000 ** -(torch.arange(0, half, 2).float() / half)  # [half / 2]
    rows = torch.arange(config.rows)[:, None, None] * frequencies
    columns = torch.arange(config.columns)[None, :, None] * frequencies
    size = (config.rows, config.columns, -1)
    angles = torch.cat([rows.expand(size), columns.expand(size)], dim=-1).flatten(0, 1)  # [rows * columns, half]
    image = torch.stack([angles.cos(), angles.sin()], dim=-1)
    return torch.cat([torch.zeros(1, half, 2), image])


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """heads: [B, heads, T, head_dim], turned in interleaved pairs by rotation: [T, head_dim / 2, 2]."""
    even, odd = heads.view(*heads.shape[:-1], -1, 2).unbind(-1)
    cosine, sine = rotation.unbind(-1)
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
