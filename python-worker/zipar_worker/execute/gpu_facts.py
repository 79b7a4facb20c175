"""What PyTorch and the machine say of GPUs. What follows from it is decided in `gpu_choice.py`, purely.

PyTorch calls all of this CUDA, also in its builds for ROCm.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from zipar_worker.machine.graphics import Graphics, find_graphics

Capability: TypeAlias = tuple[int, int]
"""NVIDIA's compute capability, e.g. (7, 5) of a T4."""

_NOTHING = Graphics()


@dataclass(frozen=True, slots=True)
class Build:
    """The PyTorch that is installed."""

    version: str
    cuda: str | None
    """Version of CUDA that it is built for."""
    hip: str | None
    """The same of ROCm."""
    architectures: tuple[str, ...]
    """That it has machine code for, e.g. "sm_75", or code to compile, e.g. "compute_90"."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU that PyTorch sees."""

    index: int
    name: str
    capability: Capability
    total_bytes: int
    uuid: str


@dataclass(frozen=True, slots=True)
class GpuFacts:
    build: Build
    cards: tuple[Card, ...] = ()
    failure: str | None = None
    """What PyTorch said when it was asked for its GPUs, where that was no answer."""
    driver_cuda: int | None = None
    """Version of CUDA that the driver serves, as PyTorch tells it: 12040 is 12.4. None or 0: it does not tell."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    graphics: Graphics = _NOTHING
    """What the machine has; not asked for where PyTorch sees a GPU."""


def gather_gpu_facts() -> GpuFacts:
    """Never raises: a driver that is broken, or a card that does not answer, is a fact like others."""
    build = Build(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        hip=torch.version.hip,
        architectures=tuple(_or_else(torch.cuda.get_arch_list, [])),
    )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards, failure = _read_cards()
    if cards:
        return GpuFacts(build, cards, failure, visible=visible)
    driver_version: Callable[[], int] | None = getattr(torch._C, "_cuda_getDriverVersion", None)
    driver_cuda = _or_else(driver_version, None) if driver_version else None
    return GpuFacts(build, (), failure, driver_cuda, visible, find_graphics())


def _read_cards() -> tuple[tuple[Card, ...], str | None]:
    cards: list[Card] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            for index in range(count):
                cards.append(_card_of(index, torch.cuda.get_device_properties(index)))
        # Drivers that are broken raise RuntimeError, AssertionError and more.
        except Exception as error:
            return tuple(cards), _first_line(str(error))
    return tuple(cards), _first_line(str(said[0].message)) if said and not cards else None


def _card_of(index: int, properties: Any) -> Card:
    return Card(
        index=index,
        name=properties.name,
        capability=(properties.major, properties.minor),
        total_bytes=properties.total_memory,
        uuid=f"GPU-{getattr(properties, 'uuid', None)}",
    )


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:300]


def _or_else(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except Exception:
        return otherwise
