"""The processes that one model is split over, as its modules see them. Imports no `torch.distributed`."""

from __future__ import annotations

from torch import Tensor


class Ranks:
    """Process `rank` of `count`. Not connected: enough for one process alone, and to count bytes."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    def sum_(self, part: Tensor) -> Tensor:
        """The sum of what all ranks have, of the same shape; `part` may be overwritten."""
        raise RuntimeError("these ranks are not connected")

    def join(self, part: Tensor) -> Tensor:
        """What all ranks have, side by side along the last dimension, in their order."""
        raise RuntimeError("these ranks are not connected")


ALONE = Ranks()
