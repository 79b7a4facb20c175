"""What the executor needs of a model family. Everything special about a family stays behind it, in one file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import ProgressReporter, PromptBranch
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.wire.protocol import EncodePrompt, ModelCard


@dataclass(frozen=True, slots=True)
class Prompt:
    """embeddings: [branches, prompt length, dim], on the device, left-padded to one length."""

    embeddings: Tensor
    branches: tuple[PromptBranch, ...]

    @property
    def length(self) -> int:
        return self.embeddings.shape[1]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What the user says beside the path. size: (width, height) in pixels, for checkpoints that do not say theirs."""

    vq_path: Path | None = None
    """File or directory of the image tokenizer, where it lies elsewhere."""
    text_encoder_path: Path | None = None
    """Directory of the text encoder or text tokenizer, where it lies elsewhere."""
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """Everything known of a checkpoint before its tensors are read, for weights of one number type."""

    card: ModelCard
    kv_shape: KvShape
    head_count: int
    """Attention heads of a layer, those that share K and V counted singly."""
    slot_count: int
    """Slots that one branch of one image needs at most: the longest prompt and the largest token grid."""
    weight_bytes: Mapping[str, int]
    """Bytes once loaded, by part: "transformer", "image tokenizer", "text encoder"."""

    @property
    def branch_count(self) -> int:
        return len(self.card.branches)


class Family(Protocol):
    """A loaded model. B counts batch rows (branches of sequences), Q queries per row, V codes."""

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        """Raises `bad-request` for a grid that the checkpoint does not know, `prompt` for a prompt that it refuses."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [B, Q], codes and the row-end token as on the wire -> [B, Q, dim]"""
        ...

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """All layers and the final norm. embeddings: [B, Q, dim], positions: int64 [B, Q] -> [B, Q, dim]"""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, dim] -> raw logits of the codes alone: float32 [N, V]"""
        ...

    def decode_image(self, codes: Tensor) -> Tensor:
        """codes: int64 [rows, columns] on the device -> [height, width, 3] in [-1, 1], where the card has a decoder."""
        ...


class OpenedCheckpoint(Protocol):
    """A checkpoint whose files were found and whose configuration and shapes were read; no tensor is loaded."""

    def describe(self, dtype: torch.dtype) -> Description: ...

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> Family:
        """Raises `checkpoint` where tensors are missing, left over, or of other shapes."""
        ...
