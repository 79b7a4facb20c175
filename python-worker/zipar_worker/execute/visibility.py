"""Which slots a query may attend to (docs/algorithm.md): the written ones up to its own, and never another."""

from __future__ import annotations

import torch
from torch import Tensor


def visible_slots(
    slots: Tensor,
    paddings: Tensor,
    runs: Tensor,
    steps: Tensor,
    slot_steps: Tensor,
    *,
    trash_slot: int,
) -> Tensor:
    """The attention mask of one forward: bool [B, 1, Q, K], True where a query sees a slot.

    slots: int64 [B, Q], each query's own; a padding query's is the trash slot.
    paddings: int64 [B], the left padding of each branch, which nobody sees.
    runs: int64 [B, R, 2], the written slots as [first, end); empty runs pad.
    steps: int64 [B, Q], each query's own, and slot_steps: int64 [B, K], that of the query which wrote a slot: a query
    sees no slot of a later step.

    Every query sees at least one slot, since a softmax over nothing is NaN, which the next layer would write into the
    cache: a query within the left padding sees itself alone, a padding query sees slot 0 alone.
    """
    keys = torch.arange(slot_steps.shape[1], device=slots.device)
    own = torch.where(slots == trash_slot, 0, slots)[:, :, None]
    written = ((keys >= runs[:, :, :1]) & (keys < runs[:, :, 1:])).any(dim=1)
    readable = written & (keys >= paddings[:, None])
    visible = readable[:, None, :] & (keys <= own) & (slot_steps[:, None, :] <= steps[:, :, None])
    return (visible | (keys == own))[:, None]
