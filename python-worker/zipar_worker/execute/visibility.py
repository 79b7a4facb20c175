"""Which slots a query may attend to (docs/algorithm.md): the written ones up to its own, and never another."""

from __future__ import annotations

import torch
from torch import Tensor


def visible_slots(
    slots: Tensor, paddings: Tensor, runs: Tensor, steps: Tensor | None, *, key_count: int, trash_slot: int
) -> Tensor:
    """The attention mask of one forward: bool [B, 1, Q, key_count], True where a query sees a slot.

    slots: int64 [B, Q], each query's own; a padding query's is the trash slot.
    paddings: int64 [B], the left padding of each branch, which nobody sees.
    runs: int64 [B, R, 2], the written slots as [first, end); empty runs pad.
    steps: int64 [B, Q], which forward first fed each query: it sees no slot that a query of a later one writes in this
    forward. None: all are of one.

    Every query sees at least one slot, since a softmax over nothing is NaN, which the next layer would write into the
    cache: a query within the left padding sees itself alone, a padding query sees slot 0 alone.
    """
    keys = torch.arange(key_count, device=slots.device)
    own = torch.where(slots == trash_slot, 0, slots)[:, :, None]
    written = ((keys >= runs[:, :, :1]) & (keys < runs[:, :, 1:])).any(dim=1)
    readable = written & (keys >= paddings[:, None])
    visible = readable[:, None, :] & (keys <= own)
    if steps is not None:
        visible &= (
            _writing_steps(slots, steps, max(key_count, trash_slot + 1))[:, None, :key_count] <= steps[:, :, None]
        )
    return (visible | (keys == own))[:, None]


def _writing_steps(slots: Tensor, steps: Tensor, slot_count: int) -> Tensor:
    """The step of the query that writes each slot, -1 where none does: int64 [B, slot_count]."""
    return torch.full((slots.shape[0], slot_count), -1, device=slots.device).scatter_(1, slots, steps)
