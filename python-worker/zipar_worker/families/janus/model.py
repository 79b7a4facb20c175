"""Janus' transformer: a Llama whose image tokens have an input and an output of their own.

Text enters through Llama's own embedding. A code enters as a row of a small table (`gen_embed`) that a perceptron
(`gen_aligner`) lifts to the width of the transformer, and leaves by another one (`gen_head`). Attributes and keys
follow `janus/models/modeling_vlm.py` of deepseek-ai/Janus, except that `language_model` is the Llama without its head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from zipar_worker.execute.attention import Attention
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.families.transformers_backbone import DecoderClass, build_backbone, run_backbone


@dataclass(frozen=True, slots=True)
class JanusConfig:
    """Sizes of the transformer; those of a perceptron are its widths from input to output."""

    language: LlamaConfig
    code_count: int
    aligner_widths: tuple[int, ...]
    head_widths: tuple[int, ...]

    @property
    def code_dim(self) -> int:
        """Length of the vector by which a code enters."""
        return self.aligner_widths[0]

    @property
    def kv_shape(self) -> KvShape:
        language = self.language
        kv_head_count = language.num_key_value_heads or language.num_attention_heads
        head_dim = language.head_dim or language.hidden_size // language.num_attention_heads
        return KvShape(language.num_hidden_layers, kv_head_count, head_dim)


class JanusTransformer(nn.Module):
    """Build it within `without_weights()`."""

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.language_model = cast(LlamaModel, build_backbone(cast(DecoderClass, LlamaModel), config.language))
        self.gen_embed = nn.Embedding(config.code_count, config.code_dim)
        self.gen_aligner = Perceptron(config.aligner_widths)
        self.gen_head = Perceptron(config.head_widths)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [...], of the text vocabulary -> [..., dim]"""
        embeddings: Tensor = self.language_model.get_input_embeddings()(tokens)
        return embeddings

    def embed_codes(self, codes: Tensor) -> Tensor:
        """codes: int64 [...] -> [..., dim]"""
        embeddings: Tensor = self.gen_aligner(self.gen_embed(codes))
        return embeddings

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """embeddings: [B, Q, dim], positions: int64 [B, Q] -> normed hidden states [B, Q, dim]"""
        return run_backbone(self.language_model, embeddings, positions, attention)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, dim] -> logits of the codes [N, code_count]"""
        logits: Tensor = self.gen_head(hidden)
        return logits


class Perceptron(nn.Module):
    """Linear maps with exact GELUs between them. The keys are `layers.0`, `layers.2`, `layers.4`, ..."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(widths[0], widths[1]))
        for width_in, width_out in pairwise(widths[1:]):
            self.layers.extend((nn.GELU(), nn.Linear(width_in, width_out)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., first width] -> [..., last width]"""
        y: Tensor = self.layers(x)
        return y
