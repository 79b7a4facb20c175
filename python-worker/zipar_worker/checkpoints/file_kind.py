"""What kind of file a weights file is, by its content: endings lie."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from zipar_worker.errors import WorkerError

_HEAD_BYTES = 512
_UNFINISHED = (".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2", ".tmp")
_AS_TORCH = "save its tensors with `torch.save` or safetensors"

_OTHER_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file", "run `git lfs pull` in its repository"),
    (b"GGUF", "a GGUF file, which is quantised", "take the checkpoint with full weights from which it was made"),
    (b"\x93NUMPY", "a NumPy array", _AS_TORCH),
    (b"\x89HDF", "an HDF5 file, as Keras writes", _AS_TORCH),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF", "a PDF file", "download the weights themselves"),
    (b"\x7fELF", "a program", "give a weights file"),
    (b"\x89PNG", "a picture", "give a weights file"),
    (b"\xff\xd8\xff", "a picture", "give a weights file"),
)


def weights_kind(path: Path) -> Literal["safetensors", "zip", "pickle"]:
    """Of a file that may be one of weights. Raises `checkpoint` for another kind of file, and an unfinished one."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise WorkerError("checkpoint", f"{path} cannot be read: {error.strerror}.") from error
    _check_finished(path)
    if not head:
        raise damaged(path, "the file is empty")
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    other = _other_kind(path, head)
    if other is not None:
        what, remedy = other
        raise WorkerError(
            "checkpoint",
            f"{path} is of another kind: it is {what}. Expected weights in a .safetensors file or one of `torch.save`: "
            f"{remedy}.",
        )
    if head[:1] == b"\x80":
        return "pickle"
    raise damaged(path, "it begins like no weights file")


def damaged(path: Path, reason: str) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{path} cannot be read as a weights file ({path.stat().st_size} bytes; {reason}): it is damaged, was not "
        f"downloaded completely, or is of another kind. Download it again and compare its size with the source's.",
        {"reason": reason},
    )


def unfinished_files(directory: Path) -> list[str]:
    """Names of downloads that did not end."""
    return sorted(file.name for file in directory.iterdir() if file.name.lower().endswith(_UNFINISHED))


def _check_finished(path: Path) -> None:
    # aria2 gives a file its full size at once and keeps this beside it until it is whole.
    beside = path.with_name(f"{path.name}.aria2")
    if path.name.lower().endswith(_UNFINISHED) or beside.exists():
        raise WorkerError(
            "checkpoint",
            f"{path} is a download that did not end{f' ({beside.name} is still there)' if beside.exists() else ''}. "
            f"Take it up again, and give the file that is whole.",
        )


def _other_kind(path: Path, head: bytes) -> tuple[str, str] | None:
    """What it is and what to do; None where it is not known."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return "a web page, such as one that asks to log in", "download the file itself"
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it"
    for magic, what, remedy in _OTHER_KINDS:
        if head.startswith(magic):
            return what, remedy
    # A protobuf with the version of ONNX and the name of a producer.
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and head[2:3] == b"\x12" and head[1] < 32):
        return "an ONNX model", "take the weights from which it was made"
    if start.startswith((b"{", b"[")):
        return "JSON text", "an index of shards or a message of a server? Give the weights themselves"
    return None
