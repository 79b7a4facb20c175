"""How prompts become embeddings: what all families share, and the way of those whose prompts are tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ProgressReporter, PromptBranch
from zipar_worker.families.description import BRANCHES, Prompt
from zipar_worker.families.unreadable import FindLost, reads_everything, warn_of_unreadable
from zipar_worker.wire.protocol import ClassConditioning, Grid, TextConditioning

BranchIds: TypeAlias = Callable[[TextConditioning, Grid], Sequence[Sequence[int]]]
"""The token ids of a prompt for an image of a grid, for each of `BRANCHES`, up to where the image begins."""


class PromptEncoder(ABC):
    """A family's way from a prompt to embeddings, and whatever it has to load for that."""

    @abstractmethod
    def encode(self, conditioning: ClassConditioning | TextConditioning, grid: Grid, branch_count: int) -> Prompt:
        """The first `branch_count` of `BRANCHES`. The conditioning fits the card. Raises `prompt`."""

    def weight_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of a text encoder of its own, once loaded for a transformer of this number type."""
        return 0

    def load_(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> None:
        """Loads that text encoder. Raises `checkpoint`."""
        return


class TokenPrompts(PromptEncoder):
    """Prompts of tokens that the transformer embeds itself; the shorter branch is padded on the left.

    Each branch counts its positions from the first token that is no padding.
    """

    def __init__(
        self,
        ids: BranchIds,
        max_tokens: int,
        padding_id: int,
        embed: Callable[[Tensor], Tensor],
        find_lost: FindLost = reads_everything,
    ) -> None:
        """embed: int64 [...] on any device -> [..., dim] on that of the weights. find_lost: in texts of users."""
        self._ids = ids
        self._max_tokens = max_tokens
        self._padding_id = padding_id
        self._embed = embed
        self._find_lost = find_lost

    def encode(self, conditioning: ClassConditioning | TextConditioning, grid: Grid, branch_count: int) -> Prompt:
        assert isinstance(conditioning, TextConditioning)
        warnings = warn_of_unreadable("prompt", conditioning.prompt, self._find_lost)
        if conditioning.negative_prompt is not None:
            warnings += warn_of_unreadable("negative prompt", conditioning.negative_prompt, self._find_lost)
        prompts = self._ids(conditioning, grid)[:branch_count]
        for name, ids in zip(("prompt", "negative prompt"), prompts, strict=False):
            self._check_length(name, len(ids))
        length = max(map(len, prompts))
        paddings = [length - len(ids) for ids in prompts]
        padded = [[self._padding_id] * padding + [*ids] for padding, ids in zip(paddings, prompts, strict=True)]
        branches = (
            PromptBranch(name, padding, position_offset=padding)
            for name, padding in zip(BRANCHES, paddings, strict=False)
        )
        return Prompt(self._embed(torch.tensor(padded)), tuple(branches), warnings)

    def _check_length(self, name: str, token_count: int) -> None:
        if token_count > self._max_tokens:
            raise WorkerError(
                "prompt",
                f"The {name} has {token_count} tokens, with those that the model's format adds to every {name}; at "
                f"most {self._max_tokens} are allowed. Shorten it.",
                {"tokenCount": token_count, "maxTokens": self._max_tokens},
            )
