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
from executor_driver import Feed, forward_request
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


def empty_checkpoint(module: nn.Module, dtype: torch.dtype, keys: KeyMap = NO_RULES) -> Checkpoint:
    """Tensors without content for every key of a file that fills a module."""
    shapes = {key: shape for stored in stored_shapes(module, keys).values() for key, shape in stored.items()}
    return Checkpoint(Path("model"), {key: torch.empty(shape, dtype=dtype) for key, shape in shapes.items()})
