"""A matrix product for few rows.

A step of a decoder multiplies some ten rows by every weight, so its time is the time to read the weights. PyTorch's
float32 product on the CPU needs two to three times that for 2 to 16 rows; oneDNN's, over weights in its own blocked
layout, comes near it.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

# oneDNN chooses the layout for an expected number of rows; the layout for 8 serves 1 to 200 equally well.
_EXPECTED_ROWS = 8

# Below so many numbers a weight is not packed but stored the other way round: oneDNN's product takes longer to begin
# than to compute (192 x 576 and 2 rows on AVX2: 100 us packed, 72 us transposed; 256 x 1024 and 8 rows: 280 and 582).
_LEAST_PACKED = 200_000


class Linear(nn.Module):
    """`x @ weight.T + bias`. weight: [out_features, in_features], the keys and layout of `nn.Linear`."""

    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        self._layout: Literal["plain", "transposed", "packed"] = "plain"

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in_features] -> [..., out_features]"""
        match self._layout:
            case "packed":
                return _multiply_packed(x, self.weight, self.bias)
            case "transposed":
                product = x @ self.weight
                return product if self.bias is None else product + self.bias
            case "plain":
                return functional.linear(x, self.weight, self.bias)

    def pack_(self) -> None:
        """Brings the weight into the layout in which few rows are multiplied fastest; from then on it is opaque."""
        if self._layout != "plain" or not can_pack(self.weight.dtype, self.weight.device.type):
            return
        is_small = self.weight.numel() < _LEAST_PACKED
        self._layout = "transposed" if is_small else "packed"
        weight = self.weight.t().contiguous() if is_small else _pack(self.weight)
        self.weight = nn.Parameter(weight, requires_grad=False)


class MergedLinear(Linear):
    """Several products of one input as a single one. part_sizes: the rows of each, in the order of the weight's."""

    def __init__(self, in_features: int, part_sizes: tuple[int, ...], *, bias: bool = False) -> None:
        super().__init__(in_features, sum(part_sizes), bias=bias)
        self.part_sizes = part_sizes


def pack_linears_(module: nn.Module) -> None:
    """Packs every `Linear` of a module, once its weights are loaded."""
    for part in module.modules():
        if isinstance(part, Linear):
            part.pack_()


@cache
def can_pack(dtype: torch.dtype, device_type: str) -> bool:
    """Whether packed products exist here and agree with the ordinary ones: their operators are TorchInductor's own."""
    if device_type != "cpu" or dtype != torch.float32:
        return False
    weight = torch.arange(24 * 32, dtype=dtype).view(24, 32).sin()
    rows = torch.arange(5 * 32, dtype=dtype).view(5, 32).cos()
    try:
        packed = _multiply_packed(rows, _pack(weight), None)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(packed, functional.linear(rows, weight), atol=1e-4)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _EXPECTED_ROWS)
    return packed


def _multiply_packed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
