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

from zipar_worker.execute.int8 import round_to_int8


@dataclass(frozen=True, slots=True)
class KvShape:
    """What K and V of one slot look like."""

    layer_count: int
    head_count: int
    head_dim: int
    is_int8: bool = False
    """Whether numbers are rounded to int8, by a scale of the model's number type for each head."""

    def bytes_per_slot(self, dtype: torch.dtype) -> int:
        """K and V of all layers, for one slot of one branch, in a model of this number type."""
        head_bytes = self.head_dim + dtype.itemsize if self.is_int8 else self.head_dim * dtype.itemsize
        return 2 * self.layer_count * self.head_count * head_bytes


def stored_slots(slot_count: int, slot_multiple: int) -> int:
    """Slots that a cache row stores for `slot_count` usable ones."""
    return -(-(slot_count + 1) // slot_multiple) * slot_multiple


class KvCache:
    """Owns the pool: per layer, keys and values of [cache rows, stored slots, heads, head_dim].

    As int8 they have scales beside them: [cache rows, stored slots, heads]. A slot's numbers are rounded by its own
    scales, so that they do not depend on what else is written in the step.

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
        self.dtype = dtype
        self.head_count = shape.head_count
        size = (cache_row_count, self.stored_slot_count, shape.head_count, shape.head_dim)
        layers = range(shape.layer_count)
        stored = torch.int8 if shape.is_int8 else dtype
        self.keys = [torch.zeros(size, dtype=stored, device=device) for _ in layers]
        self.values = [torch.zeros(size, dtype=stored, device=device) for _ in layers]
        scaled = layers if shape.is_int8 else ()
        self.key_scales = [torch.zeros(size[:-1], dtype=dtype, device=device) for _ in scaled]
        self.value_scales = [torch.zeros(size[:-1], dtype=dtype, device=device) for _ in scaled]
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
        cache = self.cache
        if not cache.key_scales:
            return self._exchange_(cache.keys[layer], keys), self._exchange_(cache.values[layer], values)
        return (
            self._exchange_rounded_(cache.keys[layer], cache.key_scales[layer], keys),
            self._exchange_rounded_(cache.values[layer], cache.value_scales[layer], values),
        )

    def _exchange_(self, pool: Tensor, written: Tensor) -> Tensor:
        pool.flatten(0, 1).index_copy_(0, self.destinations, written.flatten(0, 1))
        return self._rows_of(pool)

    def _exchange_rounded_(self, pool: Tensor, scales: Tensor, written: Tensor) -> Tensor:
        rounded, own_scales = round_to_int8(written, scales.dtype)
        return self._exchange_(pool, rounded) * self._exchange_(scales, own_scales)[..., None]

    def _rows_of(self, pool: Tensor) -> Tensor:
        readable = pool[:, : self.key_count]
        if self.first_row is None:
            return readable.index_select(0, self.row_indices)
        return readable[self.first_row : self.first_row + self.row_indices.shape[0]]
