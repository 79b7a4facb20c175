"""The device that is checked, and what a reader of the report must know of it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

from zipar_testing.gpu_check.report import Value


class DeviceProblem(Exception):
    """A device that is not there; the message says which are."""


def find_device(name: str | None) -> torch.device:
    """Without a name the first GPU, or the CPU where there is none."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return torch.device("cuda", 0) if count else torch.device("cpu")
    there = ["cpu", *(f"cuda:{index}" for index in range(count))]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise DeviceProblem(
            f"gpu-check: the device {name!r} is not there; PyTorch {torch.__version__} (CUDA "
            f"{torch.version.cuda}) sees {', '.join(there)}. Give one of these as --device."
        )
    return torch.device(wanted)


def facts_of(device: torch.device) -> dict[str, Value]:
    facts: dict[str, Value] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "device": f"{device} {properties.name}",
            "memory GiB": properties.total_memory / 2**30,
            "compute capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts
