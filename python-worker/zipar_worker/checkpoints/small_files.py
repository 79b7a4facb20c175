"""Reads the small files beside a checkpoint's weights: configurations and vocabularies."""

from __future__ import annotations

from pathlib import Path

from zipar_worker.errors import WorkerError

_MAXIMAL_BYTES = 1 << 26


def read_small_file(path: Path) -> bytes:
    """Raises `checkpoint` where the file is missing, cannot be read, or is too large to be what it should be."""
    try:
        if path.stat().st_size > _MAXIMAL_BYTES:
            raise WorkerError("checkpoint", f"{path} is larger than 64 MiB; expected a file of a few MiB at most.")
        return path.read_bytes()
    except OSError as error:
        raise WorkerError("checkpoint", f"{path} cannot be read: {error.strerror}.") from error
