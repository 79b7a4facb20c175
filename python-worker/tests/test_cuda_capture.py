"""What `CudaCapture` asks of PyTorch's own `torch.cuda.graph`, over a device that only notes what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from zipar_worker.execute.cuda_capture import CudaCapture

DEVICE = torch.device("cuda", 0)


class Device:
    """free: bytes, of which a capture takes 100."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.current: Any = Stream(DEVICE)
        self.own = self.current
        self.free = 1000
        self.capture_fails = False

    def run(self) -> None:
        self.noted.append("run on the own stream" if self.current is self.own else "run on another")


class Stream:
    def __init__(self, device: torch.device) -> None:
        self.waits_for: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        self.waits_for.append(other)


class StreamContext:
    """Not a generator, which would be ended with its last reference."""

    def __init__(self, device: Device, stream: Stream) -> None:
        self.device, self.stream = device, stream

    def __enter__(self) -> None:
        self.before, self.device.current = self.device.current, self.stream

    def __exit__(self, *error: object) -> None:
        self.device.current = self.before


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()

    class Graph:
        def capture_begin(self, pool: Any, capture_error_mode: str, **others: Any) -> None:
            device.noted.append(f"begin {pool} {capture_error_mode}")

        def capture_end(self) -> None:
            device.noted.append("end")
            device.free -= 100
            if device.capture_fails:
                raise RuntimeError("operation failed due to a previous error during capture")

        def replay(self) -> None:
            device.noted.append("replay")

    @contextmanager
    def on(place: torch.device) -> Iterator[None]:
        yield

    stand_ins = {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "stream": lambda stream: StreamContext(device, stream),
        "device": on,
        "current_stream": lambda place: device.current,
        "graph_pool_handle": lambda: "pool",
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda: (device.free, 2000),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    return device


def test_everything_is_prepared_before_it_is_captured_on_one_stream_and_in_one_pool(device: Device) -> None:
    capture = CudaCapture(DEVICE)
    graphs = [capture(device.run) for _ in range(2)]
    assert device.noted == ["run on another", "begin pool thread_local", "run on another", "end"] * 2
    assert [graph.byte_count for graph in graphs] == [100, 100]
    # The warm-up comes behind what was asked for before, and what is asked for later behind the warm-up.
    assert capture._stream.waits_for == [device.own] * 2
    assert device.own.waits_for == [capture._stream] * 2
    graphs[0].replay()
    assert device.noted[-1] == "replay"


def test_a_capture_that_fails_leaves_forwards_on_their_own_stream(device: Device) -> None:
    device.capture_fails = True
    with pytest.raises(RuntimeError, match="operation failed"):
        CudaCapture(DEVICE)(device.run)
    assert device.current is device.own
