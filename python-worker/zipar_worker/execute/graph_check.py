"""Whether a graph gave what the forward without it gives, up to rounding: the shapes differ, and so may the kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zipar_worker.execute.kv_cache import KvCache
from zipar_worker.execute.model_inputs import ModelInputs

_TOLERANCES = {torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.1}
"""Of a vector's length. Vectors that have nothing to do with each other differ by about 1.4 of it."""

_INT8_TOLERANCE = 0.03
"""At least, where K/V are int8: what falls to another side of a half is rounded to another number."""


def tolerance_of(cache: KvCache) -> float:
    return max(_TOLERANCES[cache.dtype], _INT8_TOLERANCE if cache.key_scales else 0.0)


def largest_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Of vectors [..., vector], in lengths of the expected ones; NaN where there is one. Waits for the device."""
    parts = [
        (one.float() - other.float()).norm(dim=-1) / other.float().norm(dim=-1).clamp(min=1e-6)
        for one, other in zip(found, expected, strict=True)
    ]
    return float(torch.cat([part.flatten() for part in parts]).amax())


def written_kv(cache: KvCache, inputs: ModelInputs) -> Tensor:
    """What the pool holds where these queries wrote, zeros for padding: [2 * layers, B * Q, heads * head_dim]."""
    places = (inputs.cache_row_indices[:, None] * cache.stored_slot_count + inputs.slots).flatten()
    is_padding = (inputs.slots == cache.trash_slot).flatten()[:, None]
    numbers = [pool.flatten(0, 1).index_select(0, places) for pool in (*cache.keys, *cache.values)]
    scales = [
        pool.flatten(0, 1).index_select(0, places)[..., None] for pool in (*cache.key_scales, *cache.value_scales)
    ]
    if scales:
        numbers = [part * scale for part, scale in zip(numbers, scales, strict=True)]
    return torch.stack([part.flatten(1).masked_fill(is_padding, 0) for part in numbers])
