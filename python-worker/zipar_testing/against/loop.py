"""What is timed: a decoding loop that somebody else wrote, over weights that ours reads too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Loop:
    """transformer: the module whose calls are the forwards.

    generate: the codes of one image in raster order, drawn greedily, from a prompt: a text, or the number of a class.
    """

    transformer: nn.Module
    generate: Callable[[str], list[int]]
