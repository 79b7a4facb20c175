"""`zipar.json`: what a directory says of its checkpoint, for whatever its weights do not show."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TypeVar

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file
from zipar_worker.errors import WorkerError

SIDECAR_NAME = "zipar.json"

_MAXIMAL_BYTES = 1 << 20

Content = TypeVar("Content", bound=msgspec.Struct)


class _Header(msgspec.Struct):
    """The part that all families share; each family checks the rest strictly."""

    family: str


def read_family_name(directory: Path) -> str:
    """Raises `checkpoint` for a sidecar that is no JSON object with a family."""
    return read_sidecar(directory, _Header).family


def read_sidecar(directory: Path, content_type: type[Content]) -> Content:
    """Raises `checkpoint` where the sidecar does not have the form of `content_type`."""
    path = directory / SIDECAR_NAME
    try:
        return decode_json(read_small_file(path, _MAXIMAL_BYTES), content_type)
    except ValueError as error:
        raise WorkerError("checkpoint", f"{path} cannot be used: {error}.") from error


def file_beside(directory: Path, name: str) -> Path:
    """A file that the sidecar names. Raises `checkpoint` for a name that leads out of the directory.

    Links are not this function's business: `links.py` looks at them all.
    """
    relative = PurePath(name)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise WorkerError(
            "checkpoint",
            f"{directory / SIDECAR_NAME} names the file {name!r}; expected the name of a file in the same directory.",
        )
    return directory / relative
