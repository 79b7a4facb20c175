"""A forward is checked against the held sequences before an executor sees it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import EPOCH, Entry, Query, forward

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import SequenceFeed
from zipar_worker.serve.check_forward import check_forward
from zipar_worker.serve.sequences import HeldSequence
from zipar_worker.stub.executor import StubOptions, stub_card
from zipar_worker.wire.codec import decode_request
from zipar_worker.wire.protocol import Forward, ModelCard

SLOT_COUNT = 100
CARD = stub_card(StubOptions(code_count=16))
CARD_WITH_ROW_ENDS = stub_card(StubOptions(code_count=16, row_end="token"))
HELD = {
    1: HeldSequence((0,), prompt_length=3, grid=(4, 4)),
    2: HeldSequence((1,), prompt_length=3, grid=(4, 4)),
}
GOOD = Entry(1, [Query(0, 2), Query(5, 4, 1), Query(15, 9, 2)], [(0, 5), (9, 10)], [0.5])


def check(*entries: Entry, card: ModelCard = CARD) -> list[SequenceFeed]:
    decoded = decode_request(forward(1, entries), EPOCH)
    assert decoded is not None and isinstance(decoded.request, Forward)
    return check_forward(decoded.request, decoded.arrays, HELD, card, SLOT_COUNT)


def test_a_good_forward_is_dealt_out_to_its_sequences() -> None:
    other = Entry(2, [Query(7, 8, 1), Query(6, 5, 1)], [(0, 9)], [0.25, 0.75], steps=[0, 1])
    first, second = check(replace(GOOD, steps=[3, 3, 4]), other)
    assert (first.settings.sequence, second.settings.sequence) == (1, 2)
    assert (first.tokens, first.slots, first.wants) == ([0, 5, 15], [2, 4, 9], bytes([0, 1, 2]))
    assert (first.uniforms, first.runs, first.steps) == ([0.5], [0, 5, 9, 10], [3, 3, 4])
    assert (second.tokens, second.slots, second.wants) == ([7, 6], [8, 5], bytes([1, 1]))
    assert (second.uniforms, second.runs, second.steps) == ([0.25, 0.75], [0, 9], [0, 1])


def test_the_row_end_token_is_a_token_only_where_rows_end_with_one() -> None:
    entry = Entry(1, [Query(16, 5)], [(0, 6)])
    check(entry, card=CARD_WITH_ROW_ENDS)
    with pytest.raises(WorkerError, match=r"token 16; expected one in 0\.\.15"):
        check(entry)


def test_runs_may_touch() -> None:
    check(Entry(1, [Query(1, 5)], [(0, 5), (5, 6)]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sequence": 3}, "unknown"),
        ({"queries": [Query(-1, 4)], "uniforms": []}, "token -1"),
        ({"queries": [Query(5, 1)], "uniforms": []}, "expected token 0"),
        ({"queries": [Query(5, -1)], "uniforms": []}, "slot -1"),
        ({"queries": [Query(5, 100)], "runs": [(0, 101)], "uniforms": []}, "slot 100"),
        ({"queries": [Query(5, 4), Query(6, 4)], "uniforms": []}, "slot 4 twice"),
        ({"queries": [Query(5, 4, 3)], "uniforms": []}, "want 3"),
        ({"runs": [(0, 101)]}, "end of a run 101"),
        ({"runs": [(0, 0), (0, 10)]}, "not empty"),
        ({"runs": [(9, 10), (0, 5)]}, "ascend"),
        ({"runs": [(0, 5), (4, 10)]}, "disjoint"),
        ({"runs": [(-1, 10)]}, "ascend"),
        ({"runs": [(0, 5)]}, "slot 9, which none"),
        ({"runs": [(3, 10)]}, "slot 2, which none"),
        ({"uniforms": []}, "wants 1 draws but brings 0"),
        ({"uniforms": [1.0]}, "uniform 1.0"),
        ({"uniforms": [-0.1]}, "uniform -0.1"),
        ({"uniforms": [float("nan")]}, "uniform nan"),
    ],
)
def test_what_is_out_of_range_is_a_bad_request(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkerError, match=said) as caught:
        check(replace(GOOD, **changes))
    assert caught.value.code == "bad-request"


def test_a_sequence_may_be_listed_once() -> None:
    with pytest.raises(WorkerError, match="listed twice"):
        check(GOOD, GOOD)


@pytest.mark.parametrize("count", ["queryCount", "runCount", "drawCount"])
def test_counts_that_do_not_add_up_to_the_frames_are_protocol_errors(count: str) -> None:
    with pytest.raises(WorkerError, match="need") as caught:
        check(replace(GOOD, settings={count: 4}))
    assert caught.value.code == "protocol"


@settings(deadline=None)
@given(
    queries=st.lists(
        st.builds(Query, st.integers(-2, 20), st.integers(-2, 12), st.integers(0, 4)), min_size=1, max_size=6
    ),
    runs=st.lists(st.tuples(st.integers(-1, 12), st.integers(-1, 12)), min_size=1, max_size=4),
    uniforms=st.lists(st.floats(-1, 2), max_size=4),
)
def test_a_forward_passes_exactly_if_every_rule_holds(
    queries: list[Query], runs: list[tuple[int, int]], uniforms: list[float]
) -> None:
    slots = [query.slot for query in queries]
    bounds = [bound for run in runs for bound in run]
    covered = {slot for first, end in runs for slot in range(first, end)}
    lawful = (
        all(0 <= query.token < 16 for query in queries)
        and all(query.token == 0 for query in queries if query.slot < 3)
        and all(query.want <= 2 for query in queries)
        and len(set(slots)) == len(slots)
        and bounds == sorted(bounds)
        and bounds[0] >= 0
        and all(first < end for first, end in runs)
        and set(slots) <= covered
        and [query.want for query in queries].count(1) == len(uniforms)
        and all(0 <= uniform < 1 for uniform in uniforms)
    )
    try:
        check(Entry(1, queries, runs, uniforms))
        passed = True
    except WorkerError:
        passed = False
    assert passed == lawful


def test_a_check_of_sixteen_rows_is_far_below_a_forward() -> None:
    queries = [Query(1, 3 + 20 * row, 1) for row in range(4)] + [Query(1, 3 + 20 * row + 1, 1) for row in range(4)]
    queries += [Query(1, 3 + 20 * row + 2, 1) for row in range(4)] + [Query(1, 3 + 20 * row + 3, 1) for row in range(4)]
    runs = [(5 * part, 5 * part + 5) for part in range(16)]
    decoded = decode_request(forward(1, [Entry(1, queries, runs, [0.5] * 16)]), EPOCH)
    assert decoded is not None and isinstance(decoded.request, Forward)
    durations = []
    for _ in range(200):
        start = time.perf_counter()
        check_forward(decoded.request, decoded.arrays, HELD, CARD, SLOT_COUNT)
        durations.append(time.perf_counter() - start)
    # The fastest of many, so that a busy machine does not fail the test; typical is 10 microseconds.
    assert min(durations) < 50e-6
