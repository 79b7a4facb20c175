"""Published builds of the PyTorch that zipar pins: which drivers and which GPUs each of them serves."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from zipar_worker.execute.gpu_facts import Capability

NEWEST_DRIVER = 580
"""The branch of NVIDIA's drivers that serves every build."""

_FIRST_DRIVERS = ((NEWEST_DRIVER, 13), (525, 12))
"""Branches of drivers that were the first to run programs of a version of CUDA, newest first."""

Processor: TypeAlias = Literal["x86_64", "aarch64"]


class _Backend(NamedTuple):
    name: str
    """As in `UV_TORCH_BACKEND`."""
    cuda: int
    """First number of its version of CUDA; older drivers do not run it."""
    architectures: Mapping[Processor, tuple[int, ...]]


# `PYTORCH_RELEASES_CODE_CC` of torch/cuda/__init__.py (2.13), the preferred first.
_BACKENDS = (
    _Backend("cu130", 13, {"x86_64": (75, 80, 86, 90, 100, 120), "aarch64": (80, 90, 100, 110, 120)}),
    _Backend("cu126", 12, {"x86_64": (50, 60, 70, 75, 80, 86, 90), "aarch64": (80, 90)}),
    _Backend("cu129", 12, {"x86_64": (75, 80, 86, 90, 100, 120), "aarch64": (80, 90, 100, 120)}),
)

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([a-z]?)")


def fitting_backend(capabilities: Sequence[Capability], driver_cuda: int | None) -> str | None:
    """The build that the driver runs and that has code for these GPUs; None where there is none.

    driver_cuda: the first number of the version of CUDA that the driver serves; None: not known.
    """
    processor: Processor = "aarch64" if platform.machine().lower() in ("aarch64", "arm64") else "x86_64"
    for name, cuda, architectures in _BACKENDS:
        codes = [f"sm_{code}" for code in architectures[processor]]
        is_served = driver_cuda is None or driver_cuda >= cuda
        if is_served and all(serves(codes, capability) for capability in capabilities):
            return name
    return None


def cuda_of_driver(version: str) -> int:
    """First number of the newest version of CUDA that a driver serves; 0 where it is too old for every build."""
    branch = int(version.split(".")[0])
    return next((cuda for first, cuda in _FIRST_DRIVERS if branch >= first), 0)


def serves(architectures: Sequence[str], capability: Capability) -> bool:
    """Machine code runs on later GPUs of the same first number too, and `compute_` is compiled for any later one."""
    for architecture in architectures:
        found = _ARCHITECTURE.fullmatch(architecture)
        if found is None:
            continue
        kind, code, is_exact = found[1], (int(found[2]), int(found[3])), found[4] == "a"
        is_later = code <= capability and (kind == "compute" or code[0] == capability[0])
        if code == capability or (is_later and not is_exact):
            return True
    return False
