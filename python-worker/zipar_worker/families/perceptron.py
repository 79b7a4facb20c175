"""What lifts codes to the width of a transformer, and brings hidden states to codes, in Janus and STAR."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from zipar_worker.execute.linear import Linear, Split


class Perceptron(nn.Module):
    """Linear maps with exact GELUs between them. The keys are `layers.0`, `layers.2`, `layers.4`, ..."""

    def __init__(self, widths: Sequence[int], last_split: Split | None = None) -> None:
        """last_split: of the last map; each rank computes all others whole."""
        super().__init__()
        self.layers = nn.Sequential(Linear(widths[0], widths[1], bias=True))
        for k, (width_in, width_out) in enumerate(pairwise(widths[1:]), start=3):
            split = last_split if k == len(widths) else None
            self.layers.extend((nn.GELU(), Linear(width_in, width_out, bias=True, split=split)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., first width] -> [..., last width]"""
        y: Tensor = self.layers(x)
        return y
