"""Forwards as graphs against the same forwards without, on the CPU: a tape stands for the graph (`tape_capture.py`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, DRAW, NONE, Driver, Feed, runs_of, start, write_checkpoint
from plain_llamagen import PlainConfig, seeded_state
from torch import Tensor

from zipar_testing.executor_requests import forward_request, init_request
from zipar_testing.gpu_check.architectures import Architecture, tiny_architectures
from zipar_testing.gpu_check.clear_draws import Sampling
from zipar_testing.gpu_check.compare import FLOAT32_TOLERANCE, repeat_exactly
from zipar_testing.gpu_check.random_models import open_random, random_tensors, serve_loaded
from zipar_testing.gpu_check.recording import Part, record
from zipar_testing.tape_capture import Tape, TapeCapture
from zipar_worker.execute import layers, step_graphs
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.execute.step_graphs import StepGraph, StepGraphs
from zipar_worker.execute.step_layout import lay_out_step
from zipar_worker.execute.step_shape import Padding, StepShape, shape_of
from zipar_worker.wire.protocol import KvCacheForm, WeightForm

CPU = torch.device("cpu")
NO_PADDING = Padding()
CONFIG = PlainConfig(dim=64, layers=2, heads=4, kv_heads=2, codes=48, classes=7, rows=4, columns=5)
CELLS = CONFIG.rows * CONFIG.columns
BUCKETS = 12
"""Of an image in next-token order: its 19 key counts, of which those above 8 are rounded up."""
ARCHITECTURES = tiny_architectures(dim=64, code_count=64, rows=3, columns=4, has_variants=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    return write_checkpoint(directory, CONFIG, seeded_state(CONFIG, seed=12))


def with_graphs(
    executor: TorchExecutor, capture: TapeCapture | None = None, padding: Padding = NO_PADDING, **limits: int
) -> StepGraphs:
    """padding: of the graphs; the forwards without them have none on a CPU."""
    executor._graphs = StepGraphs(executor._layers, padding, lambda: capture or TapeCapture(), **limits)
    return executor._graphs


def draw_image(driver: Driver, sequence: int, scale: float = 2.0) -> tuple[list[int], list[str]]:
    """In next-token order, greedy: the tokens, and what the user is warned of."""
    tokens: list[int] = []
    warnings: list[str] = []
    for slot in range(CELLS):
        feed = Feed(sequence, [(tokens[-1] if tokens else 0, slot, DRAW)], [(0, slot + 1)], [0.5], scale)
        result = driver.forward(feed)
        tokens.append(result.drawn_tokens[0])
        warnings += result.warnings
    return tokens, warnings


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[int]:
    driver = start(checkpoint)
    driver.encode(1, 3, (0, 1))
    return draw_image(driver, 1)[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_every_family_draws_the_same_by_graphs_with_lookahead_and_other_images_beside(
    architecture: Architecture,
) -> None:
    tensors = random_tensors(architecture, seed=1)
    reference, tested = (serve_loaded(open_random(architecture, tensors), "float32", CPU, 8) for _ in range(2))
    recording = record(
        reference,
        (
            Part(1, (0, 1), 1, 2.5, Sampling(1.0, 4), lookahead=3),
            Part(2, (3,), 2, 1.0, Sampling(0.0), delay=2),
            Part(3, (5, 2), 2, 4.0, Sampling(0.9, 0, 0.5), delay=1, guidance_ends=True),
        ),
    )
    capture = TapeCapture()
    graphs = with_graphs(tested.executor, capture, Padding(queries=4, keys=8, runs=4))
    deviation = repeat_exactly(tested, recording)
    assert deviation.draw_count > 36 and (deviation.other_draws, deviation.other_kept) == (0, 0)
    assert deviation.largest <= FLOAT32_TOLERANCE
    assert graphs.take_warnings_() == ()
    assert 0 < len(capture.tapes) == len(graphs.captured) < len(recording.forwards) / 2


@pytest.mark.parametrize("seed", range(8))
def test_a_forward_padded_to_any_shape_gives_what_it_gives_without_and_touches_no_other_slot(
    checkpoint: Path, seed: int
) -> None:
    chance = random.Random(seed)
    results = []
    plain, wide = start(checkpoint, image_count=4), start(checkpoint, image_count=4)
    drivers = (plain, wide)
    rows = chance.sample(range(8), 5)
    for driver in drivers:
        driver.encode(1, 2, rows[:2])
        driver.encode(2, 4, rows[2:3])
        driver.encode(3, 5, rows[3:])  # waits
        driver.forward(Feed(3, [(0, slot, NONE) for slot in range(CELLS)], [(0, CELLS)]))
        for sequence in (1, 2):
            driver.forward(Feed(sequence, [(0, 0, NONE)], [(0, 1)]))
    written: dict[int, set[int]] = {1: {0}, 2: {0}}
    for step in range(1, 5):
        feeds = []
        for sequence, slots in written.items():
            fed = sorted(chance.sample(range(1, CELLS), chance.randint(1, 5)))
            slots |= set(fed)
            queries = [(chance.randrange(CONFIG.codes), slot, chance.choice((NONE, DISTRIBUTION))) for slot in fed]
            steps = [step - chance.randint(0, 1) for _ in fed]
            feeds.append(Feed(sequence, queries, runs_of(slots), (), 2.5, 1.0, steps=steps))
        executor = wide.executor
        requests = forward_request(executor, feeds)
        exact = shape_of(requests, executor._held)
        shape = StepShape(
            cache_rows=tuple(sorted({*exact.cache_rows, *chance.sample(range(8), 3)})),
            query_count=exact.query_count + chance.randint(0, 4),
            key_count=min(exact.key_count + chance.randint(0, 9), executor._cache.stored_slot_count),
            run_count=exact.run_count + chance.randint(0, 3),
        )
        cache = executor._cache
        with torch.inference_mode():
            laid = lay_out_step(requests, executor._held, shape, trash_slot=cache.trash_slot, device=CPU)
            hidden = executor._layers(laid.inputs).flatten(0, 1).index_select(0, laid.logit_rows)
            exact_step = lay_out_step(requests, plain.executor._held, exact, trash_slot=cache.trash_slot, device=CPU)
            own = plain.executor._layers(exact_step.inputs).flatten(0, 1).index_select(0, exact_step.logit_rows)
        torch.testing.assert_close(hidden, own, atol=1e-5, rtol=1e-5)
        results.append(len(own))
        for one, other in zip(pools(wide), pools(plain), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
            waiting = list(rows[3:])
            assert torch.equal(one[waiting], other[waiting])
    assert sum(results) > 0


def pools(driver: Driver) -> list[Tensor]:
    """All that a query may ever see."""
    cache = driver.executor._cache
    return [pool[:, : cache.trash_slot] for pool in [*cache.keys, *cache.values, cache.steps]]


def test_a_graph_serves_other_images_in_the_same_rows_and_waits_for_no_prompt(
    checkpoint: Path, expected: list[int]
) -> None:
    driver, capture = start(checkpoint), TapeCapture()
    graphs = with_graphs(driver.executor, capture)
    driver.encode(1, 6, (0, 1))
    assert draw_image(driver, 1)[0] != expected
    assert len(capture.tapes) == len(graphs.captured) == BUCKETS
    driver.executor.release([1])
    driver.encode(2, 3, (1, 0))
    driver.executor.release([2])
    driver.encode(3, 3, (0, 1))
    assert draw_image(driver, 3) == (expected, [])
    assert len(capture.tapes) == BUCKETS


@pytest.mark.parametrize(
    ("dtype", "form"), [("float32", "int8"), ("bfloat16", "full"), ("bfloat16", "int8"), ("float16", "full")]
)
def test_rounding_is_no_difference(checkpoint: Path, dtype: str, form: WeightForm) -> None:
    driver, capture = start(checkpoint, dtype=dtype, weights=form, kv_cache=form), TapeCapture()
    graphs = with_graphs(driver.executor, capture, Padding(queries=4, keys=8, runs=4))
    driver.encode(1, 3, (0, 1))
    assert draw_image(driver, 1)[1] == []
    assert len(graphs.captured) == len(capture.tapes) == 3


@pytest.mark.parametrize("form", ["full", "int8"])
def test_kv_that_are_not_written_are_found_where_nothing_else_tells(checkpoint: Path, form: KvCacheForm) -> None:
    driver = start(checkpoint, kv_cache=form)
    with_graphs(driver.executor, Altered(keeps_no_kv))
    driver.encode(1, 3, (0, 1))
    driver.forward(Feed(1, [(0, 0, NONE)], [(0, 1)]))
    (warning,) = driver.forward(Feed(1, [(0, 1, NONE)], [(0, 2)])).warnings
    assert "gave other numbers" in warning


class Altered(TapeCapture):
    """Whose tapes play otherwise."""

    def __init__(self, alter_: Callable[[Tape], None]) -> None:
        super().__init__()
        self._alter_ = alter_

    def __call__(self, run: Callable[[], None]) -> Tape:
        tape = super().__call__(run)
        self._alter_(tape)
        return tape


def plays_nothing(tape: Tape) -> None:
    tape.recorded.clear()


def keeps_no_kv(tape: Tape) -> None:
    tape.recorded = [step for step in tape.recorded if "index_copy_" not in str(step.operator)]


def cannot_be_captured(tape: Tape) -> None:
    raise RuntimeError("operation not permitted when stream is capturing")


def has_no_memory(tape: Tape) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("alter_", "said"),
    [
        (plays_nothing, "gave other numbers"),
        (keeps_no_kv, "gave other numbers"),
        (cannot_be_captured, "could not be captured: operation not permitted"),
        (has_no_memory, "could not be captured: CUDA out of memory"),
    ],
)
def test_a_graph_that_is_wrong_turns_all_off_with_one_warning_and_the_image_stays_right(
    checkpoint: Path, expected: list[int], alter_: Callable[[Tape], None], said: str
) -> None:
    driver = start(checkpoint)
    graphs = with_graphs(driver.executor, Altered(alter_))
    driver.encode(1, 3, (0, 1))
    tokens, warnings = draw_image(driver, 1)
    assert tokens == expected
    (warning,) = warnings
    assert warning.startswith("CUDA graphs are turned off until the engine is started again") and said in warning
    assert "2 rows of 1 queries over 2 slots" in warning
    assert graphs.captured == ()


def of_another_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a step do not reach the graph."""
    lay = step_graphs._padding_alone
    monkeypatch.setattr(
        step_graphs,
        "StepGraph",
        lambda inputs, *others: StepGraph(lay(inputs.shape, EXECUTORS[-1]._cache), *others),
    )


def decided_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a query sees hangs on a value of the step that was captured."""
    plain = layers.visible_slots

    def visible_slots(slots: Tensor, *others: Any, **named: Any) -> Tensor:
        return plain(torch.tensor(slots.tolist()), *others, **named)

    monkeypatch.setattr(layers, "visible_slots", visible_slots)


@pytest.mark.parametrize("break_it", [of_another_step, decided_on_the_host])
def test_a_number_that_does_not_come_from_the_inputs_is_found_at_the_first_use(
    checkpoint: Path, expected: list[int], monkeypatch: pytest.MonkeyPatch, break_it: Callable[..., None]
) -> None:
    driver = start(checkpoint)
    EXECUTORS.append(driver.executor)
    with_graphs(driver.executor)
    break_it(monkeypatch)
    driver.encode(1, 3, (0, 1))
    tokens, (warning,) = draw_image(driver, 1)
    assert tokens == expected
    assert "gave other numbers" in warning


EXECUTORS: list[TorchExecutor] = []


def test_the_least_recently_used_graph_makes_room_for_another(checkpoint: Path, expected: list[int]) -> None:
    driver, capture = start(checkpoint), TapeCapture()
    graphs = with_graphs(driver.executor, capture, most_graphs=2)
    driver.encode(1, 3, (0, 1))
    driver.forward(Feed(1, [(0, 0, NONE)], [(0, 1)]))
    used = []
    for slot in (1, 4, 1, 9, 1, 4):  # 2, 5, 2, 10, 2 and 5 slots
        driver.forward(Feed(1, [(0, slot, NONE)], [(0, slot + 1)]))
        used.append([shape.key_count for shape in graphs.captured])
    assert used == [[2], [2, 5], [5, 2], [2, 10], [10, 2], [2, 5]]
    assert len(capture.tapes) == 4
    driver.executor.release([1])
    driver.encode(2, 3, (0, 1))
    assert draw_image(driver, 2) == (expected, [])


def test_graphs_that_take_more_than_they_may_go_and_one_that_does_alone_is_not_made_again(
    checkpoint: Path, expected: list[int]
) -> None:
    driver, capture = start(checkpoint), TapeCapture(byte_count=40)
    graphs = with_graphs(driver.executor, capture, most_bytes=100)
    driver.encode(1, 3, (0, 1))
    driver.forward(Feed(1, [(0, 0, NONE)], [(0, 1)]))
    counts = []
    for slot in (1, 4, 9, 9):
        driver.forward(Feed(1, [(0, slot, NONE)], [(0, slot + 1)]))
        counts.append(len(graphs.captured))
    assert counts == [1, 2, 0, 1]

    capture = TapeCapture(byte_count=101)
    graphs = with_graphs(driver.executor, capture, most_bytes=100)
    driver.executor.release([1])
    for sequence in (2, 3):
        driver.encode(sequence, 3, (0, 1))
        assert draw_image(driver, sequence) == (expected, [])
        driver.executor.release([sequence])
        assert len(graphs.captured) == 0
    assert len(capture.tapes) == BUCKETS


def test_memory_that_runs_short_is_taken_from_the_graphs(
    checkpoint: Path, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = start(checkpoint)
    graphs = with_graphs(driver.executor)
    driver.encode(1, 3, (0, 1))
    choose = TorchExecutor._choose

    def cramped(executor: TorchExecutor, *parameters: Any) -> Tensor:
        if len(graphs.captured) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return choose(executor, *parameters)

    monkeypatch.setattr(TorchExecutor, "_choose", cramped)
    tokens, (warning,) = draw_image(driver, 1)
    assert tokens == expected
    assert warning.endswith("their memory is needed")
    assert graphs.captured == ()


def test_a_new_pool_has_no_graphs_of_the_old_one(checkpoint: Path) -> None:
    driver = start(checkpoint)
    with_graphs(driver.executor)
    executor = driver.executor
    executor.adopt(executor._family, executor._description, torch.float32, CPU, 4)
    assert executor._graphs is None


def test_on_a_cpu_graphs_are_left_out_with_a_warning(checkpoint: Path) -> None:
    executor = TorchExecutor()
    request = init_request(checkpoint, image_count=1, device="cpu", dtype="auto", cuda_graphs=True)
    loaded = executor.init(request, lambda phase, completed, total, unit: None)
    assert loaded.warnings == ("cudaGraphs does nothing here: the model runs on cpu, which has no such graphs.",)
    assert executor._graphs is None
