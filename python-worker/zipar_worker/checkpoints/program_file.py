"""Reads the tensors of a TorchScript file without executing anything of the program that it is.

It is an archive like that of `torch.save`, whose pickle describes the modules as objects of classes of the program.
Here each becomes a record of its attributes, which makes the names of tensors; the code is never looked at.
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from zipar_worker.checkpoints.file_kind import damaged
from zipar_worker.checkpoints.pickle_scan import PROGRAM_CLASSES, scan_pickle
from zipar_worker.checkpoints.torch_file import is_program, pickle_of, refuse_objects
from zipar_worker.errors import WorkerError, first_line

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LOCAL_HEADER_BYTES = 30
"""Of an entry of a zip archive, before its name."""


def read_program_file(path: Path) -> dict[str, Tensor] | None:
    """The tensors by the names that `state_dict` gives them, mapped from the disk; None for an archive of another kind.

    Raises `checkpoint`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not is_program(archive):
                return None
            content = pickle_of(path, archive)
            refuse_objects(path, [scan_pickle(io.BytesIO(content), PROGRAM_CLASSES)])
            return _tensors_of(_Reader(content, _Storages(path, archive)).load())
    except WorkerError:
        raise
    except Exception as error:  # A damaged pickle makes the interpreter raise anything.
        raise damaged(path, first_line(error) or type(error).__name__) from error


class _Record:
    """What stands for an object of a class of the program."""

    attributes: Mapping[Any, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        # Of a class with a state of its own, whose tensors have no names.
        self.attributes = state if isinstance(state, dict) else {}


class _Storages:
    """The numbers of tensors, where they lie in the file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        self._bytes = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)

    def read(self, key: str, dtype: torch.dtype) -> Tensor:
        """All numbers of a storage: [count]"""
        entry = self._entries[f"data/{key}"]
        with self._path.open("rb") as file:
            file.seek(entry.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER_BYTES + lengths
        if start + entry.file_size > self._bytes.nbytes() or start % dtype.itemsize:
            raise ValueError(f"data/{key} lies beyond the end of the file, or between numbers")
        count = entry.file_size // dtype.itemsize
        numbers = torch.empty(0, dtype=dtype)
        return numbers.set_(self._bytes[start : start + entry.file_size], 0, (count,), (1,))


class _Reader(Unpickler):
    """Makes tensors, plain values, lists, dictionaries and records."""

    def __init__(self, content: bytes, storages: _Storages) -> None:
        super().__init__(io.BytesIO(content))
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Record
        if module == "torch.jit._pickle":
            return _nothing
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise UnpicklingError(f"it holds {module}.{name}")

    def persistent_load(self, identity: Any) -> Tensor:
        _, dtype, key, _, _ = identity
        return self._storages.read(key, dtype)


def _nothing(*_: object) -> None:
    """In place of the lists of a program, which are no parameters."""


def _tensor(numbers: Tensor, first: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> Tensor:
    last = first + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    is_within = min((first, *shape, *strides)) >= 0 and last < len(numbers) and prod(shape) <= len(numbers)
    if not is_within and prod(shape) != 0:
        raise ValueError(f"a tensor of the shape {list(shape)} has more numbers than the file holds of it")
    return numbers.as_strided(tuple(shape), tuple(strides), first)


def _tensors_of(program: object) -> dict[str, Tensor]:
    """Under the names of the modules that hold them, with dots between. A module is read once, under its first name."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    pending: list[tuple[str, object]] = [("", program)]
    while pending:
        prefix, module = pending.pop()
        if not isinstance(module, _Record) or id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in module.attributes.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            pending.append((f"{prefix}{name}.", value))
    return tensors
