"""Prompts of LlamaGen: a class or a caption, as embeddings of both branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import PromptBranch
from zipar_worker.families.family import Prompt
from zipar_worker.families.llamagen.model import CaptionEmbedding, ClassEmbedding
from zipar_worker.families.llamagen.text_encoder import TextEncoder
from zipar_worker.wire.protocol import ClassConditioning, TextConditioning

BRANCHES = ("conditional", "unconditional")


class PromptEncoder(Protocol):
    def __call__(self, conditioning: ClassConditioning | TextConditioning, branch_count: int) -> Prompt:
        """The first `branch_count` of `BRANCHES`. Raises `bad-request`, `prompt`."""
        ...


class ClassPrompts:
    """One slot: the embedding of the class, and in the unconditional branch that of the null class."""

    def __init__(self, embedding: ClassEmbedding) -> None:
        self._embedding = embedding

    def __call__(self, conditioning: ClassConditioning | TextConditioning, branch_count: int) -> Prompt:
        table = self._embedding.embedding_table.weight
        null_class = len(table) - 1
        if not isinstance(conditioning, ClassConditioning) or conditioning.class_index >= null_class:
            raise WorkerError("bad-request", f"encode-prompt: expected a class index in 0..{null_class - 1}")
        indices = (conditioning.class_index, null_class)[:branch_count]
        embeddings = torch.stack([table[index] for index in indices])[:, None]
        return Prompt(embeddings, _branches(branch_count, padding=0))


class CaptionPrompts:
    """Always as many slots as the longest caption has; shorter ones are padded on the left.

    The unconditional branch has learnt features in their place, and the padding of the conditional one. No branch
    counts positions from where its padding ends: the rotary embedding leaves the condition out altogether.
    """

    def __init__(self, embedding: CaptionEmbedding, text_encoder: TextEncoder) -> None:
        self._embedding = embedding
        self._text_encoder = text_encoder

    def __call__(self, conditioning: ClassConditioning | TextConditioning, branch_count: int) -> Prompt:
        if not isinstance(conditioning, TextConditioning):
            raise WorkerError("bad-request", "encode-prompt: expected a text, received a class index")
        if conditioning.negative_prompt is not None:
            raise WorkerError(
                "prompt",
                "LlamaGen takes no negative prompt: what guidance leads away from was learnt in training. "
                "Leave it out.",
            )
        caption = self._text_encoder.encode(conditioning.prompt)
        unconditional = self._embedding.uncond_embedding
        features: Sequence[Tensor] = (caption.features.to(unconditional.dtype), unconditional)
        embeddings = self._embedding(torch.stack(list(features[:branch_count])))
        return Prompt(embeddings, _branches(branch_count, caption.padding))


def _branches(count: int, padding: int) -> tuple[PromptBranch, ...]:
    return tuple(PromptBranch(name, padding, position_offset=0) for name in BRANCHES[:count])
