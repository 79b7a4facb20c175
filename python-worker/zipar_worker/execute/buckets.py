"""Which shape the CUDA graph of a forward has: few shapes for many forwards, none much larger than what it is for."""

from __future__ import annotations

from zipar_worker.execute.step_shape import Padding, StepShape, rounded_up

MOST_QUERIES = 512
"""Of all rows together. A larger forward computes for longer than its launches take."""

_MOST_ROWS_PER_ROW = 2
"""Rows of padding are read like others."""

_KEYS_PER_DOUBLING = 4
"""Shapes while the keys double: a quarter is the most that is read for nothing."""


def bucket_of(shape: StepShape, padding: Padding, cache_row_count: int, stored_slot_count: int) -> StepShape | None:
    """The shape to which a forward is padded for a graph; None where a graph is not worth it.

    padding: the multiples below which nothing is told apart; the others are of the K/V pool. Batch rows become a block
    of neighbours whose length is a power of two and which begins at a multiple of it, so that the pool is read in place
    and from few addresses. A row of padding may belong to a sequence that waits: it writes to its trash slot alone.
    """
    rows = _block(shape.cache_rows, cache_row_count)
    query_count = _power_of_two(shape.query_count, padding.queries)
    if len(rows) > _MOST_ROWS_PER_ROW * len(shape.cache_rows) or len(rows) * query_count > MOST_QUERIES:
        return None
    return StepShape(
        cache_rows=tuple(rows),
        query_count=query_count,
        key_count=min(_keys(shape.key_count, padding.keys), stored_slot_count),
        run_count=_power_of_two(shape.run_count, padding.runs),
    )


def _block(rows: tuple[int, ...], row_count: int) -> range:
    size = 1
    while rows[0] // size != rows[-1] // size:
        size *= 2
    first = rows[0] // size * size
    return range(first, min(first + size, row_count))


def _power_of_two(count: int, least: int) -> int:
    size = least
    while size < count:
        size *= 2
    return size


def _keys(count: int, multiple: int) -> int:
    doubling = 1 << (count - 1).bit_length() >> 1
    """The largest power of two below the count."""
    return rounded_up(count, max(multiple, doubling // _KEYS_PER_DOUBLING))
