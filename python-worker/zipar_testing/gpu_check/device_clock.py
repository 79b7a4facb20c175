"""What a device takes for something, and how fast it moves bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds. first: of the first run, which may choose and build kernels; wall: the median of what a caller
    waits; device: the median between two events of the device around it, None on the CPU.
    """

    first: float
    wall: float
    device: float | None


def time_run(run: Run, device: torch.device, *, warm_ups: int, count: int) -> Timing:
    first = wall_ms(run, device)
    for _ in range(warm_ups):
        run()
    walls = [wall_ms(run, device) for _ in range(count)]
    return Timing(first, median(walls), _device_ms(run, device, count))


def wall_ms(run: Run, device: torch.device) -> float:
    synchronize(device)
    start = perf_counter()
    run()
    synchronize(device)
    return 1000 * (perf_counter() - start)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copy_speed(device: torch.device, byte_count: int) -> float:
    """Bytes read and written by a copy on the device, in a second, at best."""
    source = torch.zeros(byte_count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(wall_ms(lambda: target.copy_(source), device) for _ in range(10))
    return 2 * byte_count / (best / 1000)


@dataclass(frozen=True, slots=True)
class Work:
    """launches: kernels on CUDA, operators on the CPU; busy_ms: the sum of the kernels' times, None on the CPU."""

    launches: int
    busy_ms: float | None


def count_work(run: Run, device: torch.device) -> Work:
    return _profiled(run, device) if device.type == "cuda" else _dispatched(run)


def _device_ms(run: Run, device: torch.device, count: int) -> float | None:
    if device.type != "cuda":
        return None
    times = []
    with torch.cuda.device(device):
        for _ in range(count):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
    return float(median(times))


def _profiled(run: Run, device: torch.device) -> Work:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        synchronize(device)
    kernels = [
        event
        for event in profiler.events()
        if event.device_type.name == "CUDA" and not event.name.startswith(("Memcpy", "Memset"))
    ]
    return Work(len(kernels), sum(event.time_range.elapsed_us() for event in kernels) / 1000)


def _dispatched(run: Run) -> Work:
    with _OperatorCounter() as counter:
        run()
    return Work(counter.count, None)


class _OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
