"""Which part of a parameter a module has, where a model is split over several processes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Share:
    """One of `count` equal shares of each of several parts that lie behind one another along a dimension."""

    dim: int
    part_sizes: tuple[int, ...]
    """Of the whole parameter. Each is divisible by `count`."""
    rank: int
    count: int

    def whole_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """shape: of the share."""
        return (*shape[: self.dim], sum(self.part_sizes), *shape[self.dim + 1 :])

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Of the share."""
        return (*whole[: self.dim], sum(self.part_sizes) // self.count, *whole[self.dim + 1 :])

    def pieces(self) -> list[tuple[int, int]]:
        """First and end of each piece of the whole parameter, along `dim`."""
        pieces = []
        start = 0
        for size in self.part_sizes:
            own = size // self.count
            pieces.append((start + self.rank * own, start + (self.rank + 1) * own))
            start += size
        return pieces


def share_of(module: nn.Module, parameter: str) -> Share | None:
    """Of one of the module's own parameters; None where the module has all of it."""
    shares: dict[str, Share] = getattr(module, "shares", {})
    return shares.get(parameter)


def take_share_(module: nn.Module, shares: dict[str, Share]) -> None:
    """Leaves a module without weights so much of its own parameters. shares: by parameter."""
    module.shares = shares  # type: ignore[assignment]
    for name, share in shares.items():
        whole: nn.Parameter = getattr(module, name)
        part = whole.new_empty(share.shape(tuple(whole.shape)))
        setattr(module, name, nn.Parameter(part, requires_grad=False))
