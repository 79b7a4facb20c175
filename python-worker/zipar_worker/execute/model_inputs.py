"""The numbers that the layers of a forward read, as one tensor, so that a graph gets all of them in one copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from zipar_worker.execute.step_shape import StepShape


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """All int64; B batch rows, Q queries per row, R runs per row, as the shape has them.

    numbers: all of them behind one another, of which the others are views;
    cache_row_indices: [B], the cache rows of the shape; tokens, slots, positions, steps: [B, Q]; paddings: [B];
    runs: [B, R, 2].
    """

    shape: StepShape
    numbers: Tensor
    cache_row_indices: Tensor
    tokens: Tensor
    slots: Tensor
    positions: Tensor
    steps: Tensor
    paddings: Tensor
    runs: Tensor


def input_count(shape: StepShape) -> int:
    """How many `numbers` there are."""
    return sum(map(prod, _sizes(shape).values()))


def view_inputs(shape: StepShape, numbers: Tensor) -> ModelInputs:
    sizes = _sizes(shape)
    parts = numbers.split_with_sizes([prod(size) for size in sizes.values()])
    views = {name: part.view(size) for (name, size), part in zip(sizes.items(), parts, strict=True)}
    return ModelInputs(shape=shape, numbers=numbers, **views)


def join_inputs(shape: StepShape, values: Mapping[str, Sequence[int]]) -> list[int]:
    """The numbers of a `ModelInputs`, from those of each of its tensors."""
    return [number for name in _sizes(shape) for number in values[name]]


def _sizes(shape: StepShape) -> dict[str, tuple[int, ...]]:
    rows, by_query = len(shape.cache_rows), (len(shape.cache_rows), shape.query_count)
    return {
        "cache_row_indices": (rows,),
        "tokens": by_query,
        "slots": by_query,
        "positions": by_query,
        "steps": by_query,
        "paddings": (rows,),
        "runs": (rows, shape.run_count, 2),
    }
