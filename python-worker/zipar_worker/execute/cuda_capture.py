"""Captures with `torch.cuda.graph`. The project has no GPU: nothing here has run yet (docs/machines.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class CudaGraph:
    graph: torch.cuda.CUDAGraph
    byte_count: int

    def replay(self) -> None:
        self.graph.replay()


class CudaCapture:
    """A `Capture`. Its graphs share one memory pool: a forward is read before the next one begins."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], None]) -> CudaGraph:
        current = torch.cuda.current_stream(self._device)
        # `torch.cuda.graph` leaves its own stream behind where a capture fails.
        with torch.cuda.device(self._device), torch.cuda.stream(current):
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                run()
            current.wait_stream(self._stream)
            # What is not the graph's own memory is as small before as after.
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            free_bytes, _ = torch.cuda.mem_get_info()
            graph = torch.cuda.CUDAGraph()
            # Other threads of the worker only send heartbeats; what this one must not do shall fail.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                run()
            return CudaGraph(graph, max(0, free_bytes - torch.cuda.mem_get_info()[0]))
