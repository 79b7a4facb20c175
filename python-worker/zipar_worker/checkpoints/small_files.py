"""Reads the small files beside a checkpoint's weights: configurations and vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from zipar_worker.errors import WorkerError

_MAXIMAL_BYTES = 1 << 26

Count: TypeAlias = Annotated[int, Meta(ge=1, le=2**24)]
"""A size in a configuration."""

Content = TypeVar("Content")


def read_small_file(path: Path, maximal_bytes: int = _MAXIMAL_BYTES) -> bytes:
    """Raises `checkpoint` where the file is missing, cannot be read, or is too large to be what it should be."""
    try:
        size = path.stat().st_size
        if size > maximal_bytes:
            raise WorkerError(
                "checkpoint", f"{path} has {size} bytes; expected at most {maximal_bytes}. It is no file of this kind."
            )
        return path.read_bytes()
    except OSError as error:
        raise WorkerError(
            "checkpoint",
            f"{path} cannot be read: {error.strerror}. Download it from the checkpoint's repository.",
        ) from error


def decode_json(content: bytes, content_type: type[Content]) -> Content:
    """Raises ValueError for what is no JSON, of another form, or nested without end."""
    try:
        return msgspec.json.decode(content, type=content_type)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def read_json(path: Path) -> dict[str, Any]:
    """The fields of a JSON object. Raises `checkpoint` where the file holds none."""
    try:
        return decode_json(read_small_file(path), dict[str, Any])
    except ValueError as error:
        raise unusable(path, f"{error}") from error


def glance_json(path: Path) -> dict[str, Any] | None:
    """The fields of a JSON object; None where the file is missing or holds none. A glance, not a check."""
    try:
        return read_json(path)
    except WorkerError:
        return None


def convert_fields(path: Path, fields: object, content_type: type[Content]) -> Content:
    """Fields of the file `path`, checked. Raises `checkpoint` where they do not have the form of `content_type`."""
    try:
        return msgspec.convert(fields, content_type)
    except msgspec.ValidationError as error:
        raise unusable(path, f"{error}") from error


def model_type_of(path: Path) -> object:
    """What `config.json` in a directory says of its model; None where it says nothing. A glance, not a check."""
    fields = glance_json(path / "config.json")
    return fields.get("model_type") if fields is not None else None


def unusable(path: Path, reason: str) -> WorkerError:
    return WorkerError(
        "checkpoint", f"{path} cannot be used: {reason}. Download it again from the checkpoint's repository."
    )


def of_another_kind(path: Path, fields: Mapping[str, object], expected: str) -> WorkerError:
    """fields: those of the configuration `path`."""
    return WorkerError(
        "checkpoint",
        f"{path} describes a model of the type {fields.get('model_type')!r}; expected {expected}. Give the directory "
        f"of such a checkpoint.",
    )
