"""Which family a checkpoint belongs to. A new family is one file in this folder and one line in `LOADERS`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from zipar_worker.errors import WorkerError
from zipar_worker.executor_interface import ProgressReporter
from zipar_worker.families.family import Family
from zipar_worker.families.llamagen import load_llamagen
from zipar_worker.families.sidecar import SIDECAR_NAME, read_family_name


class FamilyLoader(Protocol):
    """Loads a checkpoint of one family; see `load_family`."""

    def __call__(
        self,
        path: Path,
        *,
        vq_path: Path | None,
        size: tuple[int, int] | None,
        dtype: torch.dtype,
        device: torch.device,
        report: ProgressReporter,
    ) -> Family: ...


LOADERS: Mapping[str, FamilyLoader] = {"llamagen": load_llamagen}


def load_family(
    path: Path,
    *,
    vq_path: Path | None,
    size: tuple[int, int] | None,
    dtype: torch.dtype,
    device: torch.device,
    report: ProgressReporter,
) -> Family:
    """Loads a checkpoint: a directory with a sidecar, a directory with one weights file, or a weights file.

    vq_path: the image tokenizer's file, where it lies elsewhere; size: (width, height) in pixels, for checkpoints that
    do not say. Raises `checkpoint`, `out-of-memory`.
    """
    if not path.exists():
        raise WorkerError(
            "checkpoint",
            f"The model {path} does not exist. Give a directory or a weights file (.pt, .safetensors).",
        )
    loader = LOADERS[_family_name(path)]
    return loader(path, vq_path=vq_path, size=size, dtype=dtype, device=device, report=report)


def _family_name(path: Path) -> str:
    """The family that the sidecar names; without one, the only family whose checkpoints come as bare weights."""
    if not (path / SIDECAR_NAME).is_file():
        return "llamagen"
    name = read_family_name(path)
    if name not in LOADERS:
        raise WorkerError(
            "checkpoint",
            f"{path / SIDECAR_NAME} names the family {name!r}; this version knows {', '.join(LOADERS)}.",
        )
    return name
