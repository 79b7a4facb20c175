"""Which shapes graphs have. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipar_testing.gpu_check.wavefront import Layout, planned_queries
from zipar_worker.execute.buckets import MOST_QUERIES, bucket_of
from zipar_worker.execute.step_shape import Padding, StepShape

CUDA = Padding(queries=4, keys=64, runs=4)
ROWS, SLOTS = 24, 8320
"""Of the pool; the slots are a multiple of those of the padding."""

shapes = st.builds(
    lambda rows, queries, keys, runs: StepShape(tuple(sorted(rows)), queries, keys, runs),
    st.sets(st.integers(0, ROWS - 1), min_size=1),
    st.integers(1, 600),
    st.integers(1, SLOTS),
    st.integers(1, 100),
)


@given(shapes)
def test_a_bucket_holds_its_forward_and_wastes_little(shape: StepShape) -> None:
    bucket = bucket_of(shape, CUDA, ROWS, SLOTS)
    if bucket is None:
        return
    rows = bucket.cache_rows
    assert rows == tuple(range(rows[0], rows[0] + len(rows))) and rows[-1] < ROWS
    assert set(shape.cache_rows) <= set(rows) and len(rows) <= 2 * len(shape.cache_rows)
    assert shape.query_count <= bucket.query_count < max(5, 2 * shape.query_count)
    assert shape.run_count <= bucket.run_count < max(5, 2 * shape.run_count)
    assert shape.key_count <= bucket.key_count <= min(SLOTS, max(shape.key_count + 63, 1.25 * shape.key_count))
    assert bucket.key_count % 64 == 0
    assert len(rows) * bucket.query_count <= MOST_QUERIES


@given(shapes)
def test_a_forward_that_fills_its_bucket_has_no_other(shape: StepShape) -> None:
    bucket = bucket_of(shape, CUDA, ROWS, SLOTS)
    assert bucket is None or bucket_of(bucket, CUDA, ROWS, SLOTS) == bucket


@pytest.mark.parametrize(
    ("rows", "block"),
    [
        ((5,), (5,)),
        ((2, 3), (2, 3)),
        ((0, 1, 4, 5), tuple(range(8))),
        ((0, 2), (0, 1, 2, 3)),  # two images without guidance
        ((16, 17, 20, 21, 22), tuple(range(16, 24))),  # the pool ends there
        ((7, 8), None),
        ((0, 12), None),
    ],
)
def test_rows_become_the_block_around_them_unless_most_of_it_would_be_padding(
    rows: tuple[int, ...], block: tuple[int, ...] | None
) -> None:
    bucket = bucket_of(StepShape(rows, 1, 64, 1), CUDA, ROWS, SLOTS)
    assert (bucket and bucket.cache_rows) == block


def test_forwards_of_many_queries_have_no_bucket() -> None:
    assert bucket_of(StepShape((0, 1), 256, 64, 1), CUDA, ROWS, SLOTS) is not None
    assert bucket_of(StepShape((0, 1), 257, 64, 1), CUDA, ROWS, SLOTS) is None


@pytest.mark.parametrize(("window", "forwards", "buckets"), [(7, 712, 24), (90, 8099, 24)])
def test_few_buckets_serve_the_forwards_of_an_emu3_image(window: int, forwards: int, buckets: int) -> None:
    """90 x 90 tokens with row ends; each forward but the prefill, in two branches."""
    layout = Layout(90, 90, True, prompt_length=64)
    used = []
    for queries in list(planned_queries(layout, window))[1:]:
        slots = [query.slot for query in queries]
        # Behind the rows that are finished, each row under way has a run of its own.
        used.append(bucket_of(StepShape((0, 1), len(slots), slots[-1] + 1, len(slots)), CUDA, 16, SLOTS))
    assert None not in used
    assert (len(used), len(set(used))) == (forwards, buckets)
