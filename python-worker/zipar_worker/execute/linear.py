"""A matrix product for few rows.

A step of a decoder multiplies some ten rows by every weight, so its time is the time to read the weights. PyTorch's
float32 product on the CPU needs two to three times that for 2 to 16 rows; oneDNN's, over weights in its own blocked
layout, comes near it.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.share import Share, take_share_
from zipar_worker.execute.int8 import round_to_int8
from zipar_worker.execute.ranks import ALONE, Ranks

Split: TypeAlias = Literal["outputs", "joined outputs", "inputs"]
"""What of a product each of several ranks computes: its share of the outputs, all of them once those of the ranks are
joined, or a summand of all outputs from its share of the inputs.
"""

# oneDNN chooses the layout for an expected number of rows; the layout for 8 serves 1 to 200 equally well.
_EXPECTED_ROWS = 8

# Below so many numbers a weight is not packed but stored the other way round: oneDNN's product takes longer to begin
# than to compute (192 x 576 and 2 rows on AVX2: 100 us packed, 72 us transposed; 256 x 1024 and 8 rows: 280 and 582).
_LEAST_PACKED = 200_000

# Numbers of an int8 weight that the CPU makes floats of at a time: they stay in its cache until they are multiplied.
_CACHED_NUMBERS = 512 * 1024


class Linear(nn.Module):
    """`x @ weight.T + bias`. weight: [out_features, in_features], the keys and layout of `nn.Linear`."""

    bias: nn.Parameter | None
    scales: nn.Parameter | None
    """float32 [out_features], of a weight that is stored as int8: what each of its rows is to be multiplied by."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False, split: Split | None = None) -> None:
        """split: None where each rank computes everything."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None
        self.scales = None
        self.part_sizes: tuple[int, ...] = (out_features,)
        self.split = split
        self.ranks = ALONE
        self.becomes_int8 = False
        """Whether `pack_` rounds the weight to int8."""
        self._largest: Tensor | None = None
        self._layout: Literal["plain", "transposed", "packed", "int8"] = "plain"

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in_features] -> [..., out_features]; of split inputs or outputs this rank's share."""
        if self.ranks is ALONE:
            return self._multiply(x, self.bias)
        if self.split == "inputs":
            product = self.ranks.sum_(self._multiply(x, None))
            return product if self.bias is None else product + self.bias
        product = self._multiply(x, self.bias)
        return self.ranks.join(product) if self.split == "joined outputs" else product

    def split_(self, ranks: Ranks) -> None:
        """Leaves this rank its share, before weights are loaded. Joined outputs without equal shares stay whole."""
        out_features, in_features = self.weight.shape
        if self.split is None or (self.split == "joined outputs" and out_features % ranks.count):
            return
        self.ranks = ranks
        if self.split == "inputs":
            take_share_(self, {"weight": Share(1, (in_features,), ranks.rank, ranks.count)})
            return
        share = Share(0, self.part_sizes, ranks.rank, ranks.count)
        take_share_(self, {"weight": share} if self.bias is None else {"weight": share, "bias": share})

    def see_whole_(self, weight: Tensor, dtype: torch.dtype) -> None:
        """weight: the whole of which this rank's share is about to be taken, to run in this number type.

        Ranks that split the inputs so agree on a scale for each row: their int8 weights are those of one process.
        """
        if self.becomes_int8 and self.split == "inputs":
            self._largest = weight.abs().amax(dim=1).to(dtype)

    def _multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        match self._layout:
            case "packed":
                return _multiply_packed(x, self.weight, bias)
            case "transposed":
                product = x @ self.weight
                return product if bias is None else product + bias
            case "plain":
                return functional.linear(x, self.weight, bias)
            case "int8":
                assert self.scales is not None
                product = (_multiply_int8(x, self.weight) * self.scales).to(x.dtype)
                return product if bias is None else product + bias

    def stored_bytes(self, dtype: torch.dtype) -> int:
        """Of the weight and what belongs to it, once packed, where the model runs in this number type."""
        numbers = self.weight.numel()
        weight = numbers + 4 * self.weight.shape[0] if self.becomes_int8 else numbers * dtype.itemsize
        return weight + (0 if self.bias is None else self.bias.numel() * dtype.itemsize)

    def pack_(self) -> None:
        """Brings the weight into the layout in which few rows are multiplied fastest; from then on it is opaque."""
        if self._layout != "plain":
            return
        if self.becomes_int8:
            largest = None if self._largest is None else self._largest.to(self.weight.device)
            weight, scales = round_to_int8(self.weight, largest=largest)
            self._layout = "int8"
            self.weight = nn.Parameter(weight, requires_grad=False)
            self.scales = nn.Parameter(scales, requires_grad=False)
            return
        if not can_pack(self.weight.dtype, self.weight.device.type):
            return
        is_small = self.weight.numel() < _LEAST_PACKED
        self._layout = "transposed" if is_small else "packed"
        weight = self.weight.t().contiguous() if is_small else _pack(self.weight)
        self.weight = nn.Parameter(weight, requires_grad=False)


class MergedLinear(Linear):
    """Several products of one input as a single one. part_sizes: the rows of each, in the order of the weight's."""

    def __init__(
        self, in_features: int, part_sizes: tuple[int, ...], *, bias: bool = False, split: Split | None = None
    ) -> None:
        super().__init__(in_features, sum(part_sizes), bias=bias, split=split)
        self.part_sizes = part_sizes


def pack_linears_(module: nn.Module) -> None:
    """Packs every `Linear` of a module, once its weights are loaded."""
    for part in module.modules():
        if isinstance(part, Linear):
            part.pack_()


def show_linear_(part: nn.Module, whole: Tensor, dtype: torch.dtype) -> None:
    """A `see_whole` of `load_module_`."""
    if isinstance(part, Linear):
        part.see_whole_(whole, dtype)


def store_as_int8_(module: nn.Module) -> None:
    """Marks every `Linear` of a module that has no weights yet: they become int8, one by one, as they are loaded."""
    for part in module.modules():
        if isinstance(part, Linear):
            part.becomes_int8 = True


def stored_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Of all parameters of a module, once loaded in this number type and packed."""
    return sum(
        part.stored_bytes(dtype)
        if isinstance(part, Linear)
        else sum(parameter.numel() for parameter in part.parameters(recurse=False)) * dtype.itemsize
        for part in module.modules()
    )


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


def _multiply_int8(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` in the number type of `x`, which holds every int8 exactly; the scales are not in it.

    The same sums for any number of rows, so that an image does not depend on its batch. PyTorch's own product of int8
    weights (`_weight_int8pack_mm`) takes 40 times as long with float32 rows on AVX2, and dynamic quantisation rounds
    the rows by the largest number of the batch.
    """
    if x.device.type != "cpu":
        return functional.linear(x, weight.to(x.dtype))
    rows = x.flatten(0, -2)
    count = max(1, _CACHED_NUMBERS // weight.shape[1])
    blocks = (weight[first : first + count] for first in range(0, len(weight), count))
    return torch.cat([rows @ block.to(x.dtype).t() for block in blocks], dim=1).view(*x.shape[:-1], -1)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _EXPECTED_ROWS)
    return packed


def _multiply_packed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
