"""Graphs of Emu3 at its full size on a GPU that is not there: what they read, and what a forward still launches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from full_size import empty_checkpoint, fake_gpu
from msgspec import structs
from torch import Tensor

from zipar_testing.gpu_check import architectures
from zipar_testing.gpu_check.random_models import RandomTensors, open_random, serve_loaded
from zipar_testing.gpu_check.recording import Part, hold
from zipar_testing.gpu_check.timed_model import TimedModel
from zipar_testing.gpu_check.wavefront import Query
from zipar_testing.tape_capture import Tape, TapeCapture
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.emu3.files import DEFAULTS
from zipar_worker.families.vq.emu3 import Emu3VQConfig

CUDA = torch.device("cuda", 0)
LAUNCH_NOTHING = {"aten::empty", "aten::lift_fresh", "aten::detach_"}


@contextmanager
def emu3(layer_count: int) -> Iterator[TimedModel]:
    """Held in rows 0 and 1 of four."""
    config = structs.replace(DEFAULTS, num_hidden_layers=layer_count)
    architecture = architectures.emu3("Emu3", config, Emu3VQConfig(), (90, 90), 151854)
    with fake_gpu():
        with without_weights():
            transformer, decoder = architecture.transformer(), architecture.image_decoder()
        tensors = RandomTensors(
            empty_checkpoint(transformer, torch.bfloat16, architecture.keys).tensors,
            empty_checkpoint(decoder, torch.float32).tensors,
        )
        served = serve_loaded(open_random(architecture, tensors), "bfloat16", CUDA, cache_row_count=4)
        (image,) = hold(served, [Part(1, (0, 1), window=1, guidance_scale=3.0)]).values()
        yield TimedModel("Emu3", served, image.layout, CUDA, "bfloat16")


class CountedReplays(TapeCapture):
    """Graphs that count how often they are launched: there is nothing to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __call__(self, run: Any) -> Tape:
        tape = super().__call__(run)
        tape.replay = self.launch  # type: ignore[method-assign]
        return tape

    def launch(self) -> None:
        self.count += 1


def forward_of(model: TimedModel, query_count: int) -> Any:
    """Of one image at half of its slots."""
    half = model.layout.slot_count // 2
    return model.forward([Query(slot, (0, 0), (0, 0)) for slot in range(half - query_count, half)], [(0, half)])


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> CountedReplays:
    # The comparison of a first use waits for the device.
    monkeypatch.setattr("zipar_worker.execute.step_graphs.largest_difference", lambda found, expected: 0.0)
    return CountedReplays()


def launches(run: Any) -> int:
    """Operators that compute or copy something on the device, views and empty memory apart."""
    with Tape() as tape:
        run()
    return sum(recorded.operator._schema.name not in LAUNCH_NOTHING for recorded in tape.recorded)


def test_a_forward_of_emu3_launches_68_times_by_a_graph_in_the_place_of_866(capture: CountedReplays) -> None:
    """docs/machines.md has these numbers."""
    with emu3(layer_count=32) as model:
        run = forward_of(model, 13)
        assert launches(run) == 866
        model.served.executor.use_graphs_(lambda: capture)
        run()
        assert launches(run) + (capture.count - 1) == 68
    assert (len(capture.tapes), capture.count) == (1, 2)


def test_a_graph_reads_nothing_but_weights_the_pool_and_its_inputs(capture: CountedReplays) -> None:
    """Which stay where they are: all else would be stale in its next use."""
    with emu3(layer_count=2) as model:
        executor = model.served.executor
        executor.use_graphs_(lambda: capture)
        forward_of(model, 13)()
    (tape,) = capture.tapes
    assert executor._graphs is not None
    inputs = next(iter(executor._graphs._graphs.values())).inputs
    transformer, cache = executor._family.transformer, executor._cache
    pool = [*cache.keys, *cache.values, cache.steps]
    lasting = [*transformer.parameters(), *transformer.buffers(), *pool, inputs.numbers]
    assert memories(tape.foreign) <= memories(lasting)
    assert memories([*pool, inputs.numbers]) <= memories(tape.foreign)


def test_one_graph_serves_all_counts_of_queries_in_its_bucket_without_a_wait_or_a_further_upload(
    capture: CountedReplays,
) -> None:
    with emu3(layer_count=2) as model:
        executor = model.served.executor
        executor.use_graphs_(lambda: capture)
        for query_count in (13, 9, 16):
            forward_of(model, query_count)()
        assert len(capture.tapes) == 1
        with Tape() as tape:
            outcome: Any = forward_of(model, 10)()
        assert (outcome.device, outcome.shape) == (CUDA, (2 * 3 * 10,))
        assert sum(from_host(recorded.args) for recorded in tape.recorded) == 2
        forward_of(model, 17)()
        assert executor._graphs is not None
        assert [shape.query_count for shape in executor._graphs.captured] == [16, 32]


def from_host(values: tuple[Any, ...]) -> bool:
    devices = {value.device.type for value in values if isinstance(value, Tensor) and value.dim() > 0}
    return devices == {"cpu", "cuda"}


def memories(tensors: list[Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors}
