"""LlamaGen's transformer, for classes or captions. `KEYS` has the names of the official checkpoints.

Facts: `autoregressive/models/gpt.py` of FoundationVision/LlamaGen (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.execute.linear import Linear
from zipar_worker.families.decoder import Decoder, DecoderConfig, Rotation
from zipar_worker.families.transformer import Transformer

NORM_EPSILON = 1e-5
ROTARY_BASE = 10000.0

KEYS = KeyMap(
    (
        (r"^embedding\.", "tok_embeddings."),
        (r"^head\.", "output."),
        (r"^decoder\.", ""),
        (r"\.self_attn\.qkv_proj\.", ".attention.wqkv."),
        (r"\.self_attn\.o_proj\.", ".attention.wo."),
        (r"\.mlp\.gate_up_proj\.", (".feed_forward.w1.", ".feed_forward.w3.")),
        (r"\.mlp\.down_proj\.", ".feed_forward.w2."),
        (r"\.input_layernorm\.", ".attention_norm."),
        (r"\.post_attention_layernorm\.", ".ffn_norm."),
    )
)

LANDMARKS = ("tok_embeddings.weight",)
"""Of the weights in a file; see `Sought`."""


@dataclass(frozen=True, slots=True)
class ClassCondition:
    """One embedding, of a class.

    `class_count` leaves the null class out: index `class_count` of the table. A model without one has no guidance.
    """

    class_count: int
    length: int = 1
    has_null_class: bool = True


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
    def decoder(self) -> DecoderConfig:
        return DecoderConfig(
            dim=self.dim,
            layer_count=self.layer_count,
            head_count=self.head_count,
            kv_head_count=self.kv_head_count,
            head_dim=self.dim // self.head_count,
            # Two thirds of `4 * dim`, rounded up to a multiple of 256.
            feed_forward_width=ceil((8 * self.dim // 3) / 256) * 256,
            norm_epsilon=NORM_EPSILON,
        )


class LlamaGenTransformer(Transformer):
    """Vocabulary and codebook are the same, so codes are token ids."""

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        condition = config.condition
        self.cls_embedding: ClassEmbedding | CaptionEmbedding = (
            ClassEmbedding(condition, config.dim)
            if isinstance(condition, ClassCondition)
            else CaptionEmbedding(condition, config.dim)
        )
        self.embedding = nn.Embedding(config.vocabulary_size, config.dim)
        self.decoder = Decoder(config.decoder)
        self.head = Linear(config.dim, config.vocabulary_size, split="joined outputs")
        self.rotary = SlotRotary(config)

    def embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.embedding(tokens)
        return embeddings

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
        return logits


class ClassEmbedding(nn.Module):
    def __init__(self, condition: ClassCondition, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(condition.class_count + condition.has_null_class, dim)


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


class SlotRotary(nn.Module):
    """LlamaGen's rotary embedding: adjacent pairs are turned in float32, by the row and the column of a slot."""

    rotations: Tensor

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        # Computed, not loaded: real even where the parameters are on the meta device.
        rotations = slot_rotations(config.condition.length, config.rows, config.columns, config.decoder.head_dim)
        self.register_buffer("rotations", rotations, persistent=False)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Rotation:
        """positions: int64 [B, Q], of slots; dtype: that of the heads."""
        rotations = self.rotations[positions].unsqueeze(2)  # complex64 [B, Q, 1, D / 2]

        def rotate(heads: Tensor) -> Tensor:
            pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2))
            return torch.view_as_real(pairs * rotations).flatten(3).to(dtype)

        return rotate


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
