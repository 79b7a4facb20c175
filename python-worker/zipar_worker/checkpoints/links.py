"""Checkpoints are untrusted: what a directory holds must not make us read files elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from zipar_worker.errors import WorkerError


def refuse_outside_links(directory: Path) -> None:
    """Raises `checkpoint` where a link within the directory leads out of it.

    A snapshot in the cache of the Hugging Face hub consists of links into the `blobs` beside it; those are its own.
    """
    root = directory.resolve()
    own = [root]
    if root.parent.name == "snapshots":
        own.append(root.parent.parent / "blobs")
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in own):
                raise WorkerError(
                    "checkpoint",
                    f"{path} is a link to {path.resolve()}, outside of the checkpoint's directory. A checkpoint is "
                    f"read from its own directory alone: put the file there, or give the directory that holds it.",
                )
