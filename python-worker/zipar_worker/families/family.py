"""What the executor needs of a model family. Everything special about a family stays behind it, in one file each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from zipar_worker.executor_interface import PromptBranch
from zipar_worker.kv_cache import KvShape, KvStep
from zipar_worker.locality import AttentionBlock
from zipar_worker.protocol import EncodePrompt, ModelCard


@dataclass(frozen=True, slots=True)
class Prompt:
    """embeddings: [branches, prompt length, dim], on the device, left-padded to one length."""

    embeddings: Tensor
    branches: tuple[PromptBranch, ...]

    @property
    def length(self) -> int:
        return self.embeddings.shape[1]


class Family(Protocol):
    """A loaded model. B counts batch rows (branches of sequences), Q queries per row, V codes."""

    card: ModelCard
    slot_count: int
    """Slots that one branch of one sequence needs at most."""
    kv_shape: KvShape
    layer_count: int
    head_count: int
    """Attention heads of a layer, those that share K and V counted singly."""

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        """Raises `bad-request` for a grid or a prompt that the checkpoint does not know."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [B, Q], codes and the row-end token as on the wire -> [B, Q, dim]"""
        ...

    def transform(self, embeddings: Tensor, positions: Tensor, mask: Tensor, cache: KvStep) -> Tensor:
        """All layers. embeddings: [B, Q, dim], positions: int64 [B, Q], mask: bool [B, 1, Q, K] -> [B, Q, dim]"""
        ...

    def attention_blocks(self, embeddings: Tensor, positions: Tensor, first_visible: int) -> Iterator[AttentionBlock]:
        """Attention weights of a causal pass over a whole sequence, layer by layer, a layer's in blocks of queries.

        embeddings: [1, T, dim], positions: int64 [1, T]. Slots below `first_visible` are padding, seen by themselves
        alone. A block is read before the next one is made, so that no more than one is in memory.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, dim] -> raw logits of the codes alone: float32 [N, V]"""
        ...

    def decode_image(self, codes: Tensor) -> Tensor:
        """codes: int64 [rows, columns] on the device -> [height, width, 3] in [-1, 1], where the card has a decoder."""
        ...
