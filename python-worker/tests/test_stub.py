"""The stub model: its law, what it may see, and that enough of the row above makes every window equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import EPOCH, Entry, Query, encode_prompt, forward, init

from zipar_testing.executor_requests import runs_of
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ForwardResult
from zipar_worker.serve.check_forward import check_forward
from zipar_worker.serve.sequences import SequenceRegistry
from zipar_worker.stub.executor import StubExecutor, StubOptions, decode_options
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.codec import decode_request
from zipar_worker.wire.protocol import EncodePrompt, Forward, Init

CLASS_INDEX = 3


class Worker:
    """A stub with the checks of the server around it, without a process."""

    def __init__(self, options: StubOptions) -> None:
        self.stub = StubExecutor(options)
        decoded = decode_request([msgspec.msgpack.encode(init())], EPOCH)
        assert decoded is not None and isinstance(decoded.request, Init)
        self.loaded = self.stub.init(decoded.request, lambda phase, completed, total, unit: None)
        self.registry = SequenceRegistry(self.loaded)

    def encode_prompt(self, sequence: int, rows: int, columns: int, **fields: Any) -> None:
        message = encode_prompt(1, sequence, rows, columns, **fields)
        decoded = decode_request([msgspec.msgpack.encode(message)], EPOCH)
        assert decoded is not None and isinstance(decoded.request, EncodePrompt)
        self.registry.check_new(decoded.request)
        self.registry.add_(decoded.request, self.stub.encode_prompt(decoded.request))

    def forward(self, *entries: Entry) -> ForwardResult:
        decoded = decode_request(forward(1, entries), EPOCH)
        assert decoded is not None and isinstance(decoded.request, Forward)
        feeds = check_forward(
            decoded.request, decoded.arrays, self.registry.held, self.loaded.card, self.loaded.slot_count
        )
        return self.stub.forward(feeds)


def generate(options: StubOptions, window: int, seed: int = 0) -> list[list[int]]:
    """A token grid by the schedule of the paper, written plainly: a cell is decoded once its window above is there."""
    worker = Worker(options)
    rows, columns, prompt_length = options.rows, options.columns, options.prompt_length
    row_end = int(options.row_end == "token")
    stride = columns + row_end
    worker.encode_prompt(1, rows, columns)
    grid: list[list[int | None]] = [[None] * columns for _ in range(rows)]
    fed: dict[int, int] = {}
    while any(token is None for line in grid for token in line):
        wanted = [cell for row in range(rows) if (cell := next_cell(grid, row, window)) is not None]
        feed = {} if fed else dict.fromkeys(range(prompt_length), 0)
        for row, line in enumerate(grid):
            for column, token in enumerate(line):
                if token is not None and fed.get(prompt_length + row * stride + column) != token:
                    feed[prompt_length + row * stride + column] = token
        slot_of = {cell: prompt_length + cell[0] * stride + cell[1] - 1 for cell in wanted}
        for row, column in wanted:
            # A row starts from the row end, or from a stand-in for the last token of the row above.
            if column == 0 and row > 0:
                feed.setdefault(slot_of[row, column], options.code_count if row_end else 0)
        fed |= feed
        draws = {slot: uniform(seed, row, column) for (row, column), slot in slot_of.items()}
        queries = [Query(token, slot, int(slot in draws)) for slot, token in sorted(feed.items())]
        uniforms = [draws[query.slot] for query in queries if query.want == 1]
        result = worker.forward(Entry(1, queries, runs_of(fed), uniforms))
        cell_of = {slot: cell for cell, slot in slot_of.items()}
        drawn = [cell_of[query.slot] for query in queries if query.want == 1]
        for (row, column), token in zip(drawn, result.drawn_tokens.tolist(), strict=True):
            grid[row][column] = token
    return [[token for token in line if token is not None] for line in grid]


def next_cell(grid: Sequence[Sequence[int | None]], row: int, window: int) -> tuple[int, int] | None:
    column = next((column for column, token in enumerate(grid[row]) if token is None), None)
    if column is None or (row > 0 and None in grid[row - 1][column : column + window]):
        return None
    return row, column


def uniform(seed: int, row: int, column: int) -> float:
    return (seed * 7919 + row * 104729 + column * 1299709) % 1009 / 1009


def law(options: StubOptions, row: int, column: int, left: int, above: Sequence[int | None]) -> dict[int, int]:
    """The weights of the tokens of a cell, from the words of the law alone."""
    state = 0x811C9DC5
    words = [options.seed, row, column, CLASS_INDEX, left if column > 0 else options.code_count]
    if row > 0:
        words += [options.code_count + 1 if token is None else token for token in above]

    def mixed(state: int, word: int) -> int:
        state = (state ^ word) * 0x9E3779B1 % 2**32
        return state ^ state >> 15

    for word in words:
        state = mixed(state, word)
    weights: dict[int, int] = {}
    for number in range(4):
        token = mixed(state, 0x51ED + number) % options.code_count
        weights[token] = weights.get(token, 0) + 8 // 2**number
    return weights


def test_the_first_tokens_obey_the_law() -> None:
    options = StubOptions(rows=2, columns=4, code_count=50, prompt_length=2, seed=11)
    worker = Worker(options)
    worker.encode_prompt(1, 2, 4)
    first = worker.forward(Entry(1, [Query(0, 0), Query(0, 1, 2)], [(0, 2)]))
    assert dict(zip(first.distribution_tokens, first.distribution_probabilities, strict=True)) == pytest.approx(
        {token: weight / 15 for token, weight in law(options, 0, 0, 0, ()).items()}
    )
    assert first.distribution_tokens.tolist() == sorted(first.distribution_tokens.tolist())
    # Row 0 in full, then the second cell of row 1, which sees columns 1 to 3 of row 0.
    worker.forward(Entry(1, [Query(9, 2), Query(8, 3), Query(7, 4), Query(6, 5)], [(0, 6)]))
    second = worker.forward(Entry(1, [Query(5, 6, 2)], [(0, 7)]))
    expected = law(options, 1, 1, 5, (8, 7, 6))
    assert second.distribution_tokens.tolist() == sorted(expected)


def test_tokens_that_a_query_may_not_see_count_as_absent() -> None:
    options = StubOptions(rows=2, columns=4, code_count=1000)
    worker = Worker(options)
    worker.encode_prompt(1, 2, 4)
    worker.forward(Entry(1, [Query(0, 0), Query(11, 1), Query(12, 2), Query(13, 3), Query(14, 4)], [(0, 5)]))
    partly = worker.forward(Entry(1, [Query(5, 5, 2)], [(0, 3), (4, 6)]))
    # Columns 1 to 3 of row 0 lie in slots 2 to 4; slot 3 is in no run.
    assert partly.distribution_tokens.tolist() == sorted(law(options, 1, 1, 5, (12, None, 14)))


def test_attending_to_a_slot_that_was_never_fed_is_a_bad_request() -> None:
    worker = Worker(StubOptions(rows=2, columns=4))
    worker.encode_prompt(1, 2, 4)
    with pytest.raises(WorkerError, match="slot 1 was never fed") as caught:
        worker.forward(Entry(1, [Query(0, 0, 1), Query(5, 2)], [(0, 3)], [0.5]))
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize(
    ("row_end", "slot"), [("none", 8), ("token", 4), ("token", 10), ("token", 9), ("none", 9)], ids=str
)
def test_wanting_a_token_where_none_is_predicted_is_a_bad_request(row_end: Any, slot: int) -> None:
    worker = Worker(StubOptions(rows=2, columns=4, row_end=row_end, code_count=16))
    worker.encode_prompt(1, 2, 4)
    with pytest.raises(WorkerError, match="predicts no cell"):
        worker.forward(Entry(1, [Query(5, slot, 1)], [(slot, slot + 1)], [0.5]))


def test_draws_follow_the_law() -> None:
    options = StubOptions(rows=1, columns=2, code_count=1000)
    weights = law(options, 0, 0, 0, ())
    worker = Worker(options)
    worker.encode_prompt(1, 1, 2)
    seen: Counter[int] = Counter()
    for share in range(3000):
        drawn = worker.forward(Entry(1, [Query(0, 0, 1)], [(0, 1)], [share / 3000]))
        token = drawn.drawn_tokens[0]
        assert drawn.drawn_probabilities[0] == pytest.approx(weights[token] / 15)
        seen[token] += 1
    for token, weight in weights.items():
        expected = 3000 * weight / 15
        assert abs(seen[token] - expected) < 5 * expected**0.5


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({"temperature": 0}, [1.0]),
        ({"topK": 1}, [1.0]),
        ({"topK": 2}, [8 / 12, 4 / 12]),
        ({"topP": 0.5}, [1.0]),
        ({"topP": 0.6}, [8 / 12, 4 / 12]),
        ({"topK": 2, "topP": 0.6}, [1.0]),
        ({"temperature": 0.5}, [64 / 85, 16 / 85, 4 / 85, 1 / 85]),
        ({"temperature": 0.0001}, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_filters_apply_in_the_order_of_the_specification(sampling: dict[str, Any], kept: list[float]) -> None:
    options = StubOptions(rows=1, columns=2, code_count=1 << 20)
    weights = law(options, 0, 0, 0, ())
    assert len(weights) == 4
    worker = Worker(options)
    worker.encode_prompt(1, 1, 2)
    result = worker.forward(Entry(1, [Query(0, 0, 2)], [(0, 1)], settings=sampling))
    heaviest = sorted(weights, key=lambda token: -weights[token])[: len(kept)]
    expected = dict(zip(heaviest, kept, strict=True))
    assert result.distribution_tokens.tolist() == sorted(expected)
    assert result.distribution_probabilities.tolist() == pytest.approx([expected[token] for token in sorted(expected)])


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 9),
    reach=st.integers(0, 4),
    extra=st.integers(0, 4),
    row_end=st.sampled_from(["none", "token"]),
    prompt_length=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_window_that_covers_the_reach_gives_the_tokens_of_next_token_order(
    rows: int, columns: int, reach: int, extra: int, row_end: Any, prompt_length: int, seed: int
) -> None:
    options = StubOptions(
        rows=rows, columns=columns, reach=reach, row_end=row_end, prompt_length=prompt_length, code_count=40, seed=seed
    )
    window = min(max(1, reach) + extra, columns)
    assert generate(options, window, seed) == generate(options, columns, seed)


def test_a_window_below_the_reach_gives_other_tokens() -> None:
    options = StubOptions(rows=4, columns=9, reach=4)
    assert generate(options, 2) != generate(options, 9)


def test_sequences_of_one_forward_do_not_see_each_other() -> None:
    worker = Worker(StubOptions(rows=1, columns=4, code_count=1000))
    worker.encode_prompt(1, 1, 4)
    worker.encode_prompt(2, 1, 4, cacheRows=[1, 2], conditioning={"type": "class", "classIndex": 4})
    entry = Entry(1, [Query(0, 0, 1)], [(0, 1)], [0.3])
    together = worker.forward(entry, replace(entry, sequence=2)).drawn_tokens.tolist()
    assert together == [worker.forward(replace(entry, sequence=number)).drawn_tokens[0] for number in (1, 2)]
    assert together[0] != together[1]


def test_an_image_shows_each_code_as_a_square() -> None:
    codes = Array("codes", "int32", (1, 2), view_as(b"\1\0\0\0\2\0\0\0", "int32"))
    pixels = StubExecutor(StubOptions()).decode_image(codes)
    assert pixels.shape == (8, 16, 3)
    for pixel in range(8 * 16):
        code = 1 if pixel % 16 < 8 else 2
        assert pixels.data[3 * pixel : 3 * pixel + 3].tolist() == [code * 37, code * 91, code * 151 % 256]


def test_a_grid_that_does_not_fit_is_a_bad_request() -> None:
    worker = Worker(StubOptions(slot_count=16))
    worker.encode_prompt(1, 3, 5)
    with pytest.raises(WorkerError, match="needs 17 slots"):
        worker.encode_prompt(2, 4, 4, cacheRows=[1])


def test_the_registry_refuses_what_no_executor_can_serve() -> None:
    worker = Worker(StubOptions())
    worker.encode_prompt(1, 4, 4, cacheRows=[0, 1])
    for fields, said in [
        ({"sequence": 1, "cacheRows": [2]}, "already in use"),
        ({"cacheRows": [1]}, "cache row 1 is in use by sequence 1"),
        ({"cacheRows": [2, 2]}, "distinct"),
        ({"cacheRows": [4]}, r"in 0\.\.3"),
        ({"cacheRows": [2, 3, 1]}, "expected 1 or 2 cache rows"),
        ({"cacheRows": [2], "conditioning": {"type": "class", "classIndex": 1000}}, r"in 0\.\.999, received 1000"),
        ({"cacheRows": [2], "conditioning": {"type": "text", "prompt": "x", "negativePrompt": None}}, "on a class"),
    ]:
        with pytest.raises(WorkerError, match=said) as caught:
            worker.encode_prompt(fields.pop("sequence", 2), 4, 4, **fields)
        assert caught.value.code == "bad-request"
    assert worker.registry.release_([1, 99]) == [1]
    worker.encode_prompt(1, 4, 4, cacheRows=[1])


def test_options_are_checked() -> None:
    assert decode_options('{"rowEnd": "token", "delayMs": 2}') == StubOptions(row_end="token", delay_ms=2)
    for text in ("", "[]", '{"rows": 0}', '{"row": 1}', "{"):
        with pytest.raises(ValueError, match="--stub"):
            decode_options(text)
