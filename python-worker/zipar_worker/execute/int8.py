"""Numbers as int8 with a scale for each group of them."""

from __future__ import annotations

import torch
from torch import Tensor


def round_to_int8(
    numbers: Tensor, scale_dtype: torch.dtype = torch.float32, largest: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """numbers: [..., N] as int8 of the same shape, and what each group of N is to be multiplied by: [...].

    Symmetric: the largest number of a group, either sign, becomes 127. Computed in float32. largest: [...] of groups of
    which these numbers are a part; by default their own.
    """
    if largest is None:
        largest = numbers.float().abs().amax(dim=-1)
    scales = (largest.float() / 127).clamp(min=torch.finfo(scale_dtype).tiny).to(scale_dtype)
    # A scale that was rounded down would take the largest number beyond 127.
    return (numbers / scales.float()[..., None]).round().clamp(-127, 127).to(torch.int8), scales
