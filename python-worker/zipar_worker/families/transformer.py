"""The transformers of families: embeddings and head around the one decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import gcd
from typing import cast

import torch
from torch import Tensor, nn

from zipar_worker.checkpoints.key_map import Rules
from zipar_worker.checkpoints.weights import Adapt
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.linear import Linear
from zipar_worker.execute.ranks import Ranks
from zipar_worker.families.decoder import (
    LLAMA_KEYS,
    Decoder,
    DecoderConfig,
    HeadNorm,
    Rotary,
    SelfAttention,
    repeat_head_norms,
)

LLAMA_MODEL_KEYS: Rules = (
    (r"^embedding\.", "model.embed_tokens."),
    (r"^decoder\.", "model."),
    (r"^head\.", "lm_head."),
    *LLAMA_KEYS,
)
"""What transformers calls the parameters of a `TokenTransformer`."""


class Transformer(nn.Module):
    """B counts batch rows (branches of sequences), Q queries per row, V codes."""

    decoder: Decoder
    rotary: nn.Module
    """Called with positions and a number type, gives a `Rotation`."""

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """All layers and the final norm. embeddings: [B, Q, dim], positions: int64 [B, Q] -> [B, Q, dim]"""
        hidden: Tensor = self.decoder(embeddings, self.rotary(positions, embeddings.dtype), attention)
        return hidden

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [B, Q], codes and the row-end token as on the wire -> [B, Q, dim]"""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, dim] -> raw logits of the codes alone: [N, V]"""

    def split_(self, ranks: Ranks) -> None:
        """Leaves this rank its share, before weights are loaded. Raises `device` where there are no equal shares."""
        config = self.decoder.config
        for what, count in (
            ("attention heads", config.head_count),
            ("heads of K and V", config.kv_head_count),
            ("numbers in its feed-forward layers", config.feed_forward_width),
        ):
            if count % ranks.count:
                raise WorkerError(
                    "device",
                    f"This model cannot be split over {ranks.count} devices: it has {count} {what}, which must be "
                    f"divisible by the number of devices. Give {_fitting(config, ranks.count)}.",
                )
        for part in self.modules():
            if isinstance(part, Linear | SelfAttention | HeadNorm):
                part.split_(ranks)

    @property
    def device(self) -> torch.device:
        return cast(Tensor, self.decoder.norm.weight).device


def _fitting(config: DecoderConfig, most: int) -> str:
    """The numbers of devices up to `most` that a model can be split over."""
    sizes = gcd(config.head_count, config.kv_head_count, config.feed_forward_width)
    counts = [count for count in range(1, most) if sizes % count == 0]
    return f"{' or '.join(map(str, counts))} of them"


class TokenTransformer(Transformer):
    """Whose codes are tokens of one vocabulary with those of text. Of the head it has the rows of the codes alone."""

    code_ids: Tensor

    def __init__(
        self,
        config: DecoderConfig,
        vocabulary_size: int,
        rotary_base: float,
        code_ids: Sequence[int],
        row_end_id: int | None = None,
        embedding_scale: float = 1.0,
        has_interleaved_heads: bool = False,
    ) -> None:
        """code_ids: the token of each code. embedding_scale: what embeddings are multiplied by, as in Gemma.

        has_interleaved_heads: see `Rotary`.
        """
        super().__init__()
        self.embedding_scale = embedding_scale
        self.embedding = nn.Embedding(vocabulary_size, config.dim)
        self.decoder = Decoder(config)
        self.head = Linear(config.dim, len(code_ids), split="joined outputs")
        self.rotary = Rotary(config.head_dim, rotary_base, is_interleaved=has_interleaved_heads)
        ids = torch.tensor([*code_ids, *([] if row_end_id is None else [row_end_id])], device="cpu")
        self.register_buffer("code_ids", ids, persistent=False)

    def embed_text(self, ids: Tensor) -> Tensor:
        """ids: int64 [...], of the vocabulary, on any device -> [..., dim]"""
        embeddings: Tensor = self.embedding(ids.to(self.device))
        if self.embedding_scale == 1:
            return embeddings
        # Rounded to the number type of the embeddings before it is used, as in Gemma.
        return embeddings * embeddings.new_full((), self.embedding_scale)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embed_text(self.code_ids[tokens])

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
        return logits


def adapt_tokens(code_ids: Sequence[int], vocabulary_size: int) -> Adapt:
    """For a `TokenTransformer`: of a head over the whole vocabulary the rows of the codes, and `repeat_head_norms`."""
    rows_of_codes = slice(code_ids.start, code_ids.stop) if isinstance(code_ids, range) else list(code_ids)

    def adapt(name: str, stored: Tensor, rows: int) -> Tensor:
        # What has another shape is left as it is, for the loader to refuse.
        if name == "head.weight" and len(stored) == vocabulary_size:
            return stored[rows_of_codes]
        return repeat_head_norms(name, stored, rows)

    return adapt
