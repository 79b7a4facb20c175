"""What the executor and the families tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from zipar_worker.execute.contract import PromptBranch
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.wire.protocol import ModelCard

BRANCHES = ("conditional", "unconditional")
"""Of every family: guidance leads from the second to the first."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """embeddings: [branches, prompt length, dim], on the device, left-padded to one length."""

    embeddings: Tensor
    branches: tuple[PromptBranch, ...]
    warnings: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return self.embeddings.shape[1]


def directory_name(path: Path, family: str) -> str:
    """The name of a checkpoint's directory, behind that of its family where it does not say it."""
    own = path.absolute().name
    return own if family.lower() in own.lower() else f"{family} {own}"


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What the user says beside the path. size: (width, height) in pixels, for checkpoints that do not say theirs."""

    vq_path: Path | None = None
    """File or directory of the image tokenizer, where it lies elsewhere."""
    text_encoder_path: Path | None = None
    """Directory of the text encoder or text tokenizer, where it lies elsewhere."""
    size: tuple[int, int] | None = None
    weights_key: str | None = None
    """Which of several sets of weights in a file is meant, e.g. "ema"."""


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
