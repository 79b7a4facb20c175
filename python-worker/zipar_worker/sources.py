"""Where the files of a model reference lie on this machine."""

from __future__ import annotations

from pathlib import Path

from zipar_worker.errors import WorkerError
from zipar_worker.executor_interface import ProgressReporter
from zipar_worker.protocol import PathSource, Source


def resolve_source(source: Source, report: ProgressReporter) -> Path:
    """The path of a directory or file. Raises `checkpoint` where it cannot be had."""
    if isinstance(source, PathSource):
        return Path(source.path)
    raise WorkerError("checkpoint", f"{source.repository} cannot be fetched; give the path of a directory.")
