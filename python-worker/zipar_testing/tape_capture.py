"""What `torch.cuda.graph` does, on tensors of any device: the operators of a function are recorded and run again.

A tape knows what a CUDA graph knows: which kernels ran, with which numbers of the host, on which memory. So a function
that decides by a value of the host, or reads memory that is not the same in each run, gives wrong results from a tape
as from a graph. What was made while it was recorded is spoilt before it is played, as the memory of a graph may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recorded(NamedTuple):
    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: list[Tensor]
    """Results in memory of their own, to be written again."""


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """foreign: tensors that are read or written and were not made by what is recorded. byte_count: for its owner."""

    def __init__(self, byte_count: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.byte_count = byte_count
        self.recorded: list[_Recorded] = []
        self.foreign: list[Tensor] = []
        self._own: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = list(_tensors((args, kwargs)))
        result = func(*args, **kwargs)
        given = {_memory(tensor) for tensor in read}
        self.foreign += [tensor for tensor in read if _memory(tensor) not in self._own]
        made = [tensor for tensor in _tensors(result) if _memory(tensor) not in given]
        self._own |= {_memory(tensor) for tensor in made}
        if made or func._schema.is_mutable:  # a view of what is there is there already
            self.recorded.append(_Recorded(func, args, kwargs, made))
        return result

    def replay(self) -> None:
        for recorded in self.recorded:
            for tensor in recorded.made:
                tensor.fill_(_spoilt(tensor.dtype))
        for operator, args, kwargs, made in self.recorded:
            result = operator(*args, **kwargs)
            if made:
                for tensor, again in zip(made, _tensors(result), strict=True):
                    tensor.copy_(again)


class TapeCapture:
    """A `Capture` on tapes, all of which it keeps."""

    def __init__(self, byte_count: int = 0) -> None:
        self.tapes: list[Tape] = []
        self._byte_count = byte_count

    def __call__(self, run: Callable[[], None]) -> Tape:
        run()
        tape = Tape(self._byte_count)
        with tape:
            run()
        self.tapes.append(tape)
        return tape


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _spoilt(dtype: torch.dtype) -> float:
    if dtype.is_floating_point or dtype.is_complex:
        return torch.nan
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
