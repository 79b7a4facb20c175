"""The one attention of all families: over the slot-addressed cache in a step, or with visible weights in a profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from zipar_worker.execute.kv_cache import KvStep
from zipar_worker.execute.profile import AttentionBlock, attend_in_blocks
from zipar_worker.execute.progress_count import advance_


class Attention(Protocol):
    """What a layer calls with the projections of its queries. The mask and the cache are the attention's business."""

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Stores keys and values of these queries and attends.

        queries: [B, Q, heads, D], rotated; keys, values: [B, Q, kv heads, D], keys rotated -> [B, Q, heads, D]
        """
        ...


class StepAttention:
    """Attention of a forward. Its mask is made once: of bools PyTorch would make one again in every layer."""

    def __init__(self, step: KvStep, visible: Tensor, head_count: int) -> None:
        """visible: bool [B, 1, Q, K], True where a query sees a slot; head_count: of queries, in a layer."""
        self._step = step
        mask = torch.zeros(visible.shape, dtype=step.cache.dtype, device=visible.device)
        mask.masked_fill_(~visible, -torch.inf)
        self._mask = mask.repeat(1, 1, head_count // step.cache.head_count, 1)

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        advance_()
        all_keys, all_values = self._step.update_(layer, keys, values)
        return attend(queries, all_keys, all_values, self._mask)


@dataclass(frozen=True, slots=True)
class ProfileAttention:
    """Causal attention over one whole sequence whose weights are shown, block by block, to `consume`.

    Slots below `first_visible` are padding, seen by themselves alone. A block is consumed before the next one is made,
    so that no more than one is in memory.
    """

    first_visible: int
    consume: Callable[[AttentionBlock], None]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = []
        for block, part in attend_in_blocks(layer, queries[0], keys[0], values[0], self.first_visible):
            advance_()
            self.consume(block)
            parts.append(part)
        return torch.cat(parts)[None]


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention. queries: [B, Q, heads, D]; keys, values: [B, K, kv heads, D] -> [B, Q, heads, D]

    Where G heads share K and V they are folded into the query axis, so that K and V are never repeated.
    mask: [B, 1, G * Q, K] of the queries' number type, which is added to the scores.
    """
    batch, query_count, head_count, head_dim = queries.shape
    kv_head_count = keys.shape[2]
    group_size = head_count // kv_head_count
    by_group = queries.view(batch, query_count, kv_head_count, group_size, head_dim).permute(0, 2, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(
        by_group.reshape(batch, kv_head_count, group_size * query_count, head_dim),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask,
    )
    by_query = attended.view(batch, kv_head_count, group_size, query_count, head_dim).permute(0, 3, 1, 2, 4)
    return by_query.reshape(batch, query_count, head_count, head_dim)
