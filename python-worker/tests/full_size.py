"""A model at its full size on a GPU that is not there (see `test_fake_cuda.py`): shapes, bytes and waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from executor_driver import DRAW, NONE, Feed, forward_request
from token_images import encode_request
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, Checkpoint, stored_shapes
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families.description import Description
from zipar_worker.families.model import LoadedModel, OpenedModel

CUDA = torch.device("cuda", 0)


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Fails on whatever waits for the device, but for the one read-back, which has nothing to read."""
    with (
        patch("zipar_worker.execute.devices.free_memory", lambda device: None),
        patch("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome),
        FakeTensorMode(),
    ):
        yield


@dataclass
class FullSize:
    executor: TorchExecutor
    family: LoadedModel
    description: Description

    def run(self, feed: Feed) -> Any:
        outcome: Any = self.executor.forward(forward_request(self.executor, [feed]))
        assert outcome.device == CUDA
        return outcome


def load(opened: OpenedModel, kv_bytes_per_slot: int) -> FullSize:
    """Through the ordinary path, in bfloat16. Checks that weights and cache have the sizes that were described."""
    family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda *_: None)
    description = opened.describe(torch.bfloat16)
    executor = TorchExecutor()
    executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
    for part, module in {"transformer": family.transformer, "image tokenizer": family.image_decoder}.items():
        assert isinstance(module, nn.Module)
        tensors = [*module.parameters(), *module.buffers()]
        assert all(tensor.device == CUDA for tensor in tensors)
        counted = sum(tensor.nbytes for tensor in tensors)
        assert counted == pytest.approx(description.weight_bytes[part], rel=0.02)
    cache = executor._cache
    stored = sum(tensor.nbytes for tensor in [*cache.keys, *cache.values])
    # Slots are rounded up to what a kernel reads at once.
    assert cache.slot_count == description.slot_count
    assert stored == 2 * cache.stored_slot_count * kv_bytes_per_slot
    assert description.card.kv_bytes_per_slot == kv_bytes_per_slot
    return FullSize(executor, family, description)


@dataclass(frozen=True)
class Wavefront:
    """A step in which `row_count` rows are under way, each `lag` tokens behind the one above; the first at `column`."""

    row_count: int
    lag: int
    column: int
    row_end: int | None = None
    """The row-end token of a family that has one; the first row ends where its column is the last."""


def check_an_image(
    model: FullSize, side: int, wavefront: Wavefront, sampling: tuple[float, float, int, float], pixels: int
) -> None:
    """A prefill, a step and a decoding of `side` x `side` tokens. sampling: as of `Feed`; pixels: of a side."""
    length = model.executor.encode_prompt(encode_request(side, side, "an otter in the rain")).prompt_length
    prefill = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    # One flag, token and probability as float64, sent as pairs of float32.
    assert model.run(Feed(1, prefill, [(0, length)], [0.5], *sampling)).shape == (2 * 3,)
    count, row_end = wavefront.row_count, wavefront.row_end
    stride = side if row_end is None else side + 1
    slots = [length + row * stride + wavefront.column - wavefront.lag * row for row in range(count)]
    runs = [(0, slots[0] + 1), *((length + row * stride, slot + 1) for row, slot in enumerate(slots) if row)]
    first = 5 if row_end is None else row_end
    queries = [(first, slots[0], DRAW), *((5, slot, DRAW) for slot in slots[1:])]
    assert model.run(Feed(1, queries, runs, [0.5] * count, *sampling)).shape == (2 * 3 * count,)
    image = model.family.decode_image(torch.zeros((side, side), dtype=torch.int64, device=CUDA))
    assert (image.shape, image.device, image.dtype) == ((pixels, pixels, 3), CUDA, torch.float32)


def empty_checkpoint(module: nn.Module, dtype: torch.dtype, keys: KeyMap = NO_RULES) -> Checkpoint:
    """Tensors without content for every key of a file that fills a module."""
    shapes = {key: shape for stored in stored_shapes(module, keys).values() for key, shape in stored.items()}
    return Checkpoint(Path("model"), {key: torch.empty(shape, dtype=dtype) for key, shape in shapes.items()})
