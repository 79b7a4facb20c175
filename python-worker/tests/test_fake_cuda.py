"""The CUDA path on a machine without a GPU: shapes, devices and waits, under PyTorch's `FakeTensorMode`.

In that mode tensors have a device but no content. An operation that mixes devices raises, and so does any that needs a
value on the host, which is what a hidden synchronisation is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, DRAW, NONE, Feed, encode_prompt_request, forward_request
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from zipar_worker.checkpoints.weights import Checkpoint, stored_shapes, without_weights
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families.llamagen import model_of
from zipar_worker.families.llamagen.files import Files, official_defaults
from zipar_worker.families.llamagen.transformer import KEYS, ClassCondition, LlamaGenConfig, LlamaGenTransformer

CUDA = torch.device("cuda", 0)
SMALL = LlamaGenConfig(64, 2, 4, 2, 48, ClassCondition(7), 16, 16)
LARGEST = LlamaGenConfig(3200, 24, 32, 32, 16384, ClassCondition(1000), 24, 24)


class UploadCounter(TorchDispatchMode):
    """Counts copies from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        from_host = any(isinstance(arg, Tensor) and arg.dim() > 0 and arg.device.type == "cpu" for arg in args)
        self.count += from_host and isinstance(result, Tensor) and result.device.type == "cuda"
        return result


class MaskCounter(TorchDispatchMode):
    """Counts the tensors of [.., queries, keys] that are made, bool or not: scores stay within the attention."""

    def __init__(self, key_count: int) -> None:
        super().__init__()
        self.count = 0
        self._key_count = key_count

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += isinstance(result, Tensor) and result.dim() == 4 and result.shape[-1] == self._key_count
        return result


@pytest.fixture
def fake_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    # The read-back is the one place that may wait, and there is nothing to read.
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        yield


def make_executor(config: LlamaGenConfig, cache_row_count: int) -> TorchExecutor:
    """Loaded through the ordinary path, from tensors without content."""
    with without_weights():
        transformer = LlamaGenTransformer(config)
    shapes = stored_shapes(transformer, KEYS).values()
    tensors = {key: torch.empty(shape) for stored in shapes for key, shape in stored.items()}
    checkpoint = Checkpoint(Path("c2i.pt"), tensors)
    opened = model_of(Files("LlamaGen", checkpoint, config, None, None, None, official_defaults(config)))
    family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda phase, completed, total, unit: None)
    executor = TorchExecutor()
    executor.adopt(family, opened.describe(torch.bfloat16), torch.bfloat16, CUDA, cache_row_count)
    return executor


def prefill(executor: TorchExecutor, config: LlamaGenConfig, sequence: int, cache_rows: tuple[int, ...]) -> Any:
    executor.encode_prompt(encode_prompt_request(sequence, 3, cache_rows, config.rows, config.columns))
    feed = Feed(sequence, [(0, 0, DRAW)], [(0, 1)], [0.5], 4.0, 1.0, 2000)
    return executor.forward(forward_request(executor, [feed]))


@pytest.mark.usefixtures("fake_mode")
@pytest.mark.parametrize("config", [SMALL, LARGEST], ids=["small", "3B"])
def test_a_prefill_and_a_step_of_14_queries_wait_for_nothing_and_mix_no_devices(config: LlamaGenConfig) -> None:
    executor = make_executor(config, cache_row_count=4)
    # One flag, token and probability as float64, sent as pairs of float32.
    assert prefill(executor, config, 1, (0, 1)).shape == (2 * 3,)
    slots = [1 + row * config.columns + 14 - row for row in range(14)]
    feed = Feed(
        sequence=1,
        queries=[(5, slot, NONE if slot % 5 == 0 else DRAW) for slot in slots],
        runs=[(0, slots[0] + 1), *((1 + row * config.columns, slot + 1) for row, slot in enumerate(slots) if row)],
        uniforms=[0.5] * sum(slot % 5 != 0 for slot in slots),
        guidance_scale=4.0,
        temperature=1.0,
        top_k=2000,
        top_p=0.9,
    )
    with UploadCounter() as uploads:
        outcome: Any = executor.forward(forward_request(executor, [feed]))
    assert outcome.device == CUDA
    assert outcome.shape == (2 * 3 * len(feed.uniforms),)
    assert uploads.count == 2


@pytest.mark.usefixtures("fake_mode")
def test_sequences_of_different_kinds_share_a_step() -> None:
    executor = make_executor(SMALL, cache_row_count=8)
    prefill(executor, SMALL, 1, (4, 2))
    prefill(executor, SMALL, 2, (7,))
    feeds = [
        Feed(1, [(3, 1, DISTRIBUTION), (3, 2, DRAW)], [(0, 3)], [0.1], 2.0, 1.0, 5, 0.9),
        Feed(2, [(3, 1, DRAW)], [(0, 2)], [0.9], 1.0, 0.0, 0, 1.0),
    ]
    with UploadCounter() as uploads:
        outcome: Any = executor.forward(forward_request(executor, feeds))
    assert outcome.shape == (2 * (3 + 2 * 2) + SMALL.vocabulary_size,)
    assert uploads.count == 2


@pytest.mark.usefixtures("fake_mode")
def test_a_layer_makes_no_mask_of_its_own() -> None:
    """Of bools PyTorch makes numbers in each layer, and heads that share K and V would each ask for a copy."""
    counts = []
    for layer_count in (1, 3):
        config = replace(SMALL, layer_count=layer_count)
        executor = make_executor(config, cache_row_count=2)
        prefill(executor, config, 1, (0, 1))
        feed = Feed(1, [(3, 1, DRAW), (3, 2, DRAW)], [(0, 3)], [0.1, 0.2], 2.0, 1.0, 5)
        with MaskCounter(key_count=64) as masks:
            executor.forward(forward_request(executor, [feed]))
        counts.append(masks.count)
    assert 0 < counts[0] == counts[1]


@pytest.mark.usefixtures("fake_mode")
def test_the_cache_of_the_largest_model_has_the_size_that_the_card_promises() -> None:
    executor = make_executor(LARGEST, cache_row_count=2)
    cache = executor._cache
    stored = sum(tensor.nbytes for tensor in [*cache.keys, *cache.values])
    assert stored == 2 * cache.stored_slot_count * executor._description.card.kv_bytes_per_slot
    assert executor._description.card.kv_bytes_per_slot == 300 * 1024
