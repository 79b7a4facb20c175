"""Forwards by graphs, as a worker with `cudaGraphs` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from zipar_testing.tape_capture import TapeCapture
from zipar_worker.execute.cuda_capture import CudaCapture
from zipar_worker.execute.executor import CUDA_PADDING, TorchExecutor
from zipar_worker.execute.step_graphs import StepGraphs


@contextmanager
def by_graphs(executor: TorchExecutor, device: torch.device) -> Iterator[StepGraphs]:
    """For a while. On a CPU tapes stand for graphs, which are no faster than the forwards without them."""
    capture = partial(CudaCapture, device) if device.type == "cuda" else TapeCapture
    graphs = StepGraphs(executor._layers, CUDA_PADDING, capture)
    executor._graphs = graphs
    try:
        yield graphs
    finally:
        executor._graphs = None
