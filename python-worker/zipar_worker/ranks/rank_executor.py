"""The executor of one rank: what all ranks do alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zipar_worker.execute.contract import SequenceFeed
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.execute.step_shape import HeldPrompt
from zipar_worker.families.description import Prompt
from zipar_worker.ranks.connected import ConnectedRanks


class RankExecutor(TorchExecutor):
    _ranks: ConnectedRanks

    def __init__(self, ranks: ConnectedRanks) -> None:
        super().__init__()
        self._ranks = ranks

    @torch.inference_mode()
    def share_embeddings(self, shape: Sequence[int], embeddings: Tensor | None) -> Tensor:
        """Those of a prompt, from the first rank to all others, where `embeddings` is None."""
        if embeddings is None:
            embeddings = torch.empty(*shape, dtype=self._cache.dtype, device=self._device)
        return self._ranks.from_first(embeddings.contiguous())

    def hold(self, sequence: int, prompt: Prompt, cache_rows: tuple[int, ...]) -> None:
        self._held[sequence] = HeldPrompt(prompt, cache_rows)

    @torch.inference_mode()
    def compute(self, feeds: Sequence[SequenceFeed]) -> None:
        """A forward whose outcome another rank reads."""
        self._compute(feeds)
