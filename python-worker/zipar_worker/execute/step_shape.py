"""How large the tensors of one forward are: exactly what it needs, or rounded up so that a GPU sees few shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zipar_worker.execute.contract import SequenceFeed
from zipar_worker.families.description import Prompt


@dataclass(frozen=True, slots=True)
class HeldPrompt:
    """What the executor keeps of a sequence."""

    prompt: Prompt
    cache_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StepShape:
    """cache_rows: those of the K/V pool that are batch rows, ascending; key_count: how many slots of each are read.

    Rows without a query, queries beyond those of a row, and runs beyond its own are padding.
    """

    cache_rows: tuple[int, ...]
    query_count: int
    key_count: int
    run_count: int


@dataclass(frozen=True, slots=True)
class Padding:
    """Multiples to which counts are rounded up, so that a GPU sees few different shapes. 1 pads nothing."""

    queries: int = 1
    keys: int = 1
    runs: int = 1


def shape_of(feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt]) -> StepShape:
    """What a forward needs, without padding."""
    rows = [held[feed.settings.sequence].cache_rows[branch] for feed in feeds for branch in feed.settings.branches]
    return StepShape(
        cache_rows=tuple(sorted(rows)),
        query_count=max(len(feed.slots) for feed in feeds),
        key_count=max(feed.runs[-1] for feed in feeds),
        run_count=max(len(feed.runs) for feed in feeds) // 2,
    )


def padded(shape: StepShape, padding: Padding) -> StepShape:
    return StepShape(
        cache_rows=shape.cache_rows,
        query_count=rounded_up(shape.query_count, padding.queries),
        key_count=rounded_up(shape.key_count, padding.keys),
        run_count=rounded_up(shape.run_count, padding.runs),
    )


def feeds_prompt(feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt]) -> bool:
    """Whether a query lies in a prompt, whose embeddings have a place and a length of their own."""
    return any(min(feed.slots) < held[feed.settings.sequence].prompt.length for feed in feeds)


def rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
