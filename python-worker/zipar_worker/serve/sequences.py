"""Which sequences are alive and which cache rows they hold: the checks that need memory of earlier requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import EncodedPrompt, Loaded
from zipar_worker.wire.protocol import ClassCard, ClassConditioning, EncodePrompt


@dataclass(frozen=True, slots=True)
class HeldSequence:
    """A sequence whose prompt the executor holds."""

    cache_rows: tuple[int, ...]
    prompt_length: int
    grid: tuple[int, int]
    """Rows and columns."""


class SequenceRegistry:
    """Knows the sequences of a loaded executor; a sequence enters after its prompt was encoded."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.held: dict[int, HeldSequence] = {}

    def check_new(self, request: EncodePrompt) -> None:
        """Raises `bad-request` unless the executor may be asked to encode this prompt."""
        card = self.loaded.card
        if request.sequence in self.held:
            raise WorkerError("bad-request", f"encode-prompt: sequence {request.sequence} is already in use")
        if len(request.cache_rows) not in (1, len(card.branches)):
            raise WorkerError(
                "bad-request",
                f"encode-prompt: expected 1 or {len(card.branches)} cache rows for the branches "
                f"{', '.join(card.branches)}, received {len(request.cache_rows)}",
            )
        self._check_cache_rows(request.cache_rows)
        conditioning = request.conditioning
        if isinstance(conditioning, ClassConditioning) != isinstance(card.conditioning, ClassCard):
            wanted, received = ("class", "text") if isinstance(card.conditioning, ClassCard) else ("text", "class")
            raise WorkerError(
                "bad-request", f"encode-prompt: {card.name} is conditioned on a {wanted}, received a {received}"
            )
        if isinstance(conditioning, ClassConditioning) and isinstance(card.conditioning, ClassCard):
            class_count = card.conditioning.class_count
            if conditioning.class_index >= class_count:
                raise WorkerError(
                    "bad-request",
                    f"encode-prompt: expected a class index in 0..{class_count - 1}, "
                    f"received {conditioning.class_index}",
                )

    def add_(self, request: EncodePrompt, prompt: EncodedPrompt) -> None:
        """Enters a sequence whose prompt was encoded."""
        self.held[request.sequence] = HeldSequence(
            request.cache_rows, prompt.prompt_length, (request.rows, request.columns)
        )

    def release_(self, sequences: Iterable[int]) -> list[int]:
        """Forgets sequences and returns those that were known; others were released before, which is no error."""
        return [sequence for sequence in sequences if self.held.pop(sequence, None) is not None]

    def _check_cache_rows(self, cache_rows: tuple[int, ...]) -> None:
        row_count = self.loaded.cache_row_count
        if len(set(cache_rows)) != len(cache_rows) or max(cache_rows) >= row_count:
            raise WorkerError(
                "bad-request",
                f"encode-prompt: expected distinct cache rows in 0..{row_count - 1}, received {list(cache_rows)}",
            )
        for sequence, held in self.held.items():
            taken = set(held.cache_rows).intersection(cache_rows)
            if taken:
                raise WorkerError(
                    "bad-request",
                    f"encode-prompt: cache row {min(taken)} is in use by sequence {sequence}; release that first",
                )
