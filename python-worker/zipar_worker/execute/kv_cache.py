"""The K/V pool, addressed by (cache row, slot). Knows no model family.

A cache row holds one branch of one sequence. Slots are written in any order and overwritten freely; which of them a
query may see is decided by the mask (`visibility.py`), never here. What the mask needs to know of a slot lies beside
its keys and values: the step of the query that wrote it. Each row has at least one slot more than the model needs: the
trash slot, into which padding queries write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KvShape:
    """What K and V of one slot look like."""

    layer_count: int
    head_count: int
    head_dim: int

    def bytes_per_slot(self, dtype: torch.dtype) -> int:
        """K and V of all layers, for one slot of one branch."""
        return 2 * self.layer_count * self.head_count * self.head_dim * dtype.itemsize


def stored_slots(slot_count: int, slot_multiple: int) -> int:
    """Slots that a cache row stores for `slot_count` usable ones."""
    return -(-(slot_count + 1) // slot_multiple) * slot_multiple


class KvCache:
    """Owns the pool: per layer, keys and values of [cache rows, stored slots, heads, head_dim].

    The stored slots are `slot_count` and the trash slot, rounded up to `slot_multiple`, so that a step may read any
    multiple of it. The pool starts as zeros: a masked slot has weight 0, and 0 times a stray NaN would be NaN.
    """

    def __init__(
        self,
        shape: KvShape,
        cache_row_count: int,
        slot_count: int,
        dtype: torch.dtype,
        device: torch.device,
        slot_multiple: int = 1,
    ) -> None:
        self.slot_count = slot_count
        self.stored_slot_count = stored_slots(slot_count, slot_multiple)
        size = (cache_row_count, self.stored_slot_count, shape.head_count, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layer_count)]
        self.values = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layer_count)]
        self.steps = torch.zeros(size[:2], dtype=torch.int64, device=device)

    @property
    def trash_slot(self) -> int:
        """Where padding queries write; no mask ever shows it."""
        return self.slot_count

    def open_step_(
        self, rows: Sequence[int], row_indices: Tensor, slots: Tensor, steps: Tensor, key_count: int
    ) -> KvStep:
        """The pool as one forward sees it, once the steps of its queries are noted.

        rows: the cache row of each of its B batch rows, and row_indices: int64 [B] the same on the device;
        slots: int64 [B, Q] where its queries write, and steps: int64 [B, Q] theirs; key_count: how many slots of each
        row it reads, at least one more than the highest written slot.
        """
        contiguous = all(row == rows[0] + offset for offset, row in enumerate(rows))
        destinations = (row_indices[:, None] * self.stored_slot_count + slots).flatten()
        self.steps.flatten().index_copy_(0, destinations, steps.flatten())
        return KvStep(
            cache=self,
            destinations=destinations,
            first_row=rows[0] if contiguous else None,
            row_indices=row_indices,
            key_count=key_count,
        )


@dataclass(frozen=True, slots=True)
class KvStep:
    """One forward's access to the pool.

    destinations: int64 [B * Q] into the flattened (cache row, slot); first_row: where the B rows start, if they lie
    side by side, which makes reading them a view instead of a copy.
    """

    cache: KvCache
    destinations: Tensor
    first_row: int | None
    row_indices: Tensor
    key_count: int

    def slot_steps(self) -> Tensor:
        """The step at which each slot was written: int64 [B, key_count]."""
        return self._rows_of(self.cache.steps)

    def update_(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes keys and values: [B, Q, heads, head_dim]; returns those of the slots: [B, key_count, heads, head_dim].

        The result may be a view of the pool: read it before the next update.
        """
        return self._exchange_(self.cache.keys[layer], keys), self._exchange_(self.cache.values[layer], values)

    def _exchange_(self, pool: Tensor, written: Tensor) -> Tensor:
        pool.flatten(0, 1).index_copy_(0, self.destinations, written.flatten(0, 1))
        return self._rows_of(pool)

    def _rows_of(self, pool: Tensor) -> Tensor:
        readable = pool[:, : self.key_count]
        if self.first_row is None:
            return readable.index_select(0, self.row_indices)
        return readable[self.first_row : self.first_row + self.row_indices.shape[0]]
