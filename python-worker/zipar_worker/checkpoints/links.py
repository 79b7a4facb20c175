"""Checkpoints are untrusted: what a directory holds must not make us read files elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zipar_worker.errors import WorkerError

_BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""The hub's cache calls a file by the hash of its content."""


def refuse_outside_links(directory: Path) -> None:
    """Raises `checkpoint` where a link within the directory leads out of it.

    A snapshot in the cache of the Hugging Face hub consists of links into the `blobs` beside it; those are its own. So
    is any file of such a cache, which its name tells: no other is called by a hash.
    """
    root = directory.resolve()
    own = [root]
    snapshot = next((place for place in (root, *root.parents) if place.parent.name == "snapshots"), None)
    blobs = snapshot.parent.parent / "blobs" if snapshot is not None else None
    if blobs is not None and not blobs.is_symlink():
        own.append(blobs)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not _is_own(path, own, blobs):
                raise WorkerError(
                    "checkpoint",
                    f"{path} is a link to {path.resolve()}, outside of the checkpoint's directory. A checkpoint is "
                    f"read from its own directory alone, since a stranger may have made it: give the directory that "
                    f"holds it, or put the file there (`ln` without -s takes no space). A checkpoint that is one file "
                    f"may be given itself: a link that you name is followed.",
                )


def _is_own(link: Path, own: list[Path], blobs: Path | None) -> bool:
    target = link.resolve()
    if any(target.is_relative_to(place) for place in own):
        return True
    is_blob = _BLOB_NAME.fullmatch(target.name) is not None and target.is_file()
    # `blobs` itself may be a link to a larger disk, where the folder has another name.
    return is_blob and (target.parent.name == "blobs" or (blobs is not None and target.parent == blobs.resolve()))
