"""Arrays as they travel: raw little-endian C-order bytes with a dtype and a shape. No numpy, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, cast

ArrayType = Literal["int32", "float32", "float64", "uint8"]

ITEM_BYTES: dict[ArrayType, int] = {"int32": 4, "float32": 4, "float64": 8, "uint8": 1}
"""Bytes of one element."""

FORMATS: dict[ArrayType, Literal["i", "f", "d", "B"]] = {"int32": "i", "float32": "f", "float64": "d", "uint8": "B"}
"""The `struct` format of one element, as `memoryview.format` shows it."""


@dataclass(frozen=True, slots=True)
class Array:
    """A named array.

    `data` is a flat C-contiguous view cast to the format of `dtype`, of `prod(shape)` elements. Arrays that were
    received are read-only; whoever needs to write copies. Without numpy, a tensor gets into one by
    `torch.frombuffer(buffer, dtype=...).copy_(tensor)` on a fresh `bytearray`.
    """

    name: str
    dtype: ArrayType
    shape: tuple[int, ...]
    data: memoryview

    def __post_init__(self) -> None:
        expected = prod(self.shape)
        if self.data.format != FORMATS[self.dtype] or self.data.ndim != 1 or len(self.data) != expected:
            raise ValueError(
                f"array {self.name!r}: expected a flat view of {expected} elements of format {FORMATS[self.dtype]!r}, "
                f"received {self.data.ndim} dimension(s), {len(self.data)} elements, format {self.data.format!r}"
            )


def view_as(data: bytes | bytearray | memoryview, dtype: ArrayType) -> memoryview:
    """A flat view of a contiguous buffer in the format of `dtype`; shares the memory."""
    view = memoryview(data)
    flat = view if view.format == "B" and view.ndim == 1 else view.cast("B")
    # Typed as a view of int everywhere: the element type depends on a value, which annotations cannot say.
    return cast(memoryview, flat.cast(FORMATS[dtype]))
