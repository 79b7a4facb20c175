"""Prompts of LlamaGen: a class or a caption, as embeddings of both branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zipar_worker.execute.contract import ProgressReporter, PromptBranch
from zipar_worker.families.description import BRANCHES, Prompt
from zipar_worker.families.llamagen.text_encoder import OpenedTextEncoder, TextEncoder
from zipar_worker.families.llamagen.transformer import CaptionEmbedding, ClassEmbedding
from zipar_worker.families.prompts import PromptEncoder
from zipar_worker.wire.protocol import ClassConditioning, Grid, TextConditioning


class ClassPrompts(PromptEncoder):
    """One slot: the embedding of the class, and in the unconditional branch that of the null class."""

    def __init__(self, embedding: ClassEmbedding) -> None:
        self._embedding = embedding

    def encode(self, conditioning: ClassConditioning | TextConditioning, grid: Grid, branch_count: int) -> Prompt:
        assert isinstance(conditioning, ClassConditioning)
        table = self._embedding.embedding_table.weight
        # Where the model has one; else there is one branch alone.
        null_class = len(table) - 1
        indices = (conditioning.class_index, null_class)[:branch_count]
        embeddings = torch.stack([table[index] for index in indices])[:, None]
        return Prompt(embeddings, _branches(branch_count, padding=0))


class CaptionPrompts(PromptEncoder):
    """Always as many slots as the longest caption has; shorter ones are padded on the left.

    The unconditional branch has learnt features in their place, and the padding of the conditional one. No branch
    counts positions from where its padding ends: the rotary embedding leaves the condition out altogether.
    """

    _text_encoder: TextEncoder

    def __init__(self, embedding: CaptionEmbedding, opened: OpenedTextEncoder) -> None:
        self._embedding = embedding
        self._opened = opened

    def weight_bytes(self, dtype: torch.dtype) -> int:
        return self._opened.weight_bytes(dtype)

    def load_(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> None:
        length = len(self._embedding.uncond_embedding)
        self._text_encoder = self._opened.load(length, dtype=dtype, device=device, report=report)

    def encode(self, conditioning: ClassConditioning | TextConditioning, grid: Grid, branch_count: int) -> Prompt:
        assert isinstance(conditioning, TextConditioning)
        caption = self._text_encoder.encode(conditioning.prompt)
        unconditional = self._embedding.uncond_embedding
        features: Sequence[Tensor] = (caption.features.to(unconditional.dtype), unconditional)
        embeddings = self._embedding(torch.stack(list(features[:branch_count])))
        return Prompt(embeddings, _branches(branch_count, caption.padding), caption.warnings)


def _branches(count: int, padding: int) -> tuple[PromptBranch, ...]:
    return tuple(PromptBranch(name, padding, position_offset=0) for name in BRANCHES[:count])
