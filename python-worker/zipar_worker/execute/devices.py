"""Where a model runs, and whether it fits there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from zipar_worker.errors import WorkerError

_MEMORY_INFORMATION = Path("/proc/meminfo")


def resolve_device(name: str) -> torch.device:
    """CUDA for "auto" where there is any. Raises `device` for a device that is not there."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
        raise WorkerError(
            "device",
            f"The device {name!r} is not available: PyTorch {torch.__version__} {why}. Use the device cpu or auto, or "
            f"install a CUDA build of PyTorch and check the driver with nvidia-smi.",
        )
    _, _, number = name.partition(":")
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise WorkerError(
            "device",
            f"The device {name!r} is not available: CUDA has {torch.cuda.device_count()} devices, numbered from 0.",
        )
    return torch.device("cuda", index)


def release_unused_memory() -> None:
    """Gives back to the devices what PyTorch keeps of tensors that are gone, so that it counts as free."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def describe_device(device: torch.device) -> str:
    """e.g. "cpu" or "cuda:0 NVIDIA H100"."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def check_memory(what: str, wanted_bytes: int, device: torch.device) -> None:
    """Raises `out-of-memory` before an allocation that cannot succeed."""
    free_bytes = free_memory(device)
    if free_bytes is not None and wanted_bytes > free_bytes:
        raise _out_of_memory(what, device, {"wantedBytes": wanted_bytes, "freeBytes": free_bytes})


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if _MEMORY_INFORMATION.exists():
        for line in _MEMORY_INFORMATION.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


@contextmanager
def naming_memory(what: str, device: torch.device) -> Iterator[None]:
    """Turns a failed allocation into `out-of-memory`, after giving unused memory back."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise _out_of_memory(what, device, {"freeBytes": free_memory(device)}) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise _out_of_memory(what, device, {"freeBytes": free_memory(device)}) from error


def _out_of_memory(what: str, device: torch.device, details: dict[str, int | None]) -> WorkerError:
    figures = " and ".join(
        f"{_gibibytes(details[key])} {meaning}"
        for key, meaning in (("wantedBytes", "are needed"), ("freeBytes", "are free"))
        if details.get(key) is not None
    )
    return WorkerError(
        "out-of-memory",
        f"Not enough memory on {device} for {what}: {figures}. Generate fewer images at a time, use a smaller model, "
        f"or the dtype bfloat16.",
        details,
    )


def _gibibytes(count: int | None) -> str:
    return f"{(count or 0) / 2**30:.2f} GiB"
