"""Gradients of a batch, worked out in slices by threads.

Threads that never wait for each other within a step lose little on a busy machine, unlike those within an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

THREADS: Final = 2
"""A batch is split among as many, so their number is part of the recipe."""

Slice = TypeVar("Slice")


def make_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,))


def set_gradients_(
    parameters: Sequence[nn.Parameter],
    slice_loss: Callable[[Slice], Tensor],
    slices: Iterable[Slice],
    threads: ThreadPoolExecutor,
) -> float:
    """Sets the gradients of the mean loss over slices of equal size, each cut to length 1; returns that loss."""

    def gradients_of(part: Slice) -> tuple[float, tuple[Tensor, ...]]:
        loss = slice_loss(part)
        return loss.item(), torch.autograd.grad(loss, parameters)

    results = list(threads.map(gradients_of, slices))
    for parameter, *gradients in zip(parameters, *(gradients for _, gradients in results), strict=True):
        parameter.grad = torch.stack(gradients).mean(dim=0)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    return sum(loss for loss, _ in results) / len(results)
