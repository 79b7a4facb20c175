"""What the sizes of a run consist of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from zipar_testing.gpu_check.architectures import (
    Architecture,
    cpu_architectures,
    full_architectures,
    tiny_architectures,
)
from zipar_testing.gpu_check.forward_times import ROWS

SizeName: TypeAlias = Literal["full", "cpu", "tiny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """checked: for correctness; has_demo: whether the demo checkpoint is checked too, from its files; timed: one after
    the other; windows: of the images of the first of these; image_seconds: for each.
    """

    checked: tuple[Architecture, ...]
    has_demo: bool
    timed: tuple[Architecture, ...]
    rows: tuple[int, ...]
    attention_rows: tuple[int, ...]
    count: int
    windows: tuple[int, ...]
    image_seconds: float
    copied_bytes: int
    times_graphs: bool
    """On a CPU what stands for them shows that they are timed, and no more."""
    model_seconds: float
    """About what a model takes: with less left it is skipped."""


def tiny() -> Sizes:
    """For a test: seconds on a CPU."""
    architectures = tuple(tiny_architectures(dim=64, code_count=64, rows=2, columns=4, has_variants=False))
    return Sizes(
        checked=architectures,
        has_demo=False,
        timed=tuple(architecture for architecture in architectures if architecture.name in ("Emu3", "Janus-Pro")),
        rows=(2, 4),
        attention_rows=(2,),
        count=1,
        windows=(2,),
        image_seconds=0.1,
        copied_bytes=1 << 20,
        times_graphs=True,
        model_seconds=0.0,
    )


def cpu() -> Sizes:
    """For the times of a processor: minutes, and 6 GB of memory."""
    return Sizes(
        checked=(),
        has_demo=False,
        timed=tuple(cpu_architectures()),
        rows=(2, 8, 16, 32, 64, 128),
        attention_rows=(2, 32),
        count=15,
        windows=(4, 16),
        image_seconds=15.0,
        copied_bytes=256 << 20,
        times_graphs=False,
        model_seconds=15.0,
    )


def full() -> Sizes:
    """Prompts and images cross the multiples to which shapes are padded on CUDA."""
    return Sizes(
        checked=tuple(tiny_architectures(dim=256, code_count=256, rows=6, columns=11, has_variants=True)),
        has_demo=True,
        timed=tuple(full_architectures()),
        rows=ROWS,
        attention_rows=(2, 32),
        count=15,
        windows=(7, 90),
        image_seconds=60.0,
        copied_bytes=2 << 30,
        times_graphs=True,
        model_seconds=15.0,
    )


SIZES: dict[SizeName, Callable[[], Sizes]] = {"full": full, "cpu": cpu, "tiny": tiny}
