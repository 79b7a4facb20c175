"""The layers of a forward as CUDA graphs, one for each bucket (`buckets.py`): one launch in the place of hundreds.

A graph repeats the kernels of the forward that it was captured from, on the same addresses. So its inputs lie in a
tensor of their own, which each forward overwrites, and it belongs to one K/V pool. The first forward of a bucket runs
without the graph as well, and both are compared. Whatever goes wrong with a graph turns all of them off, with one
warning; images go on without.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zipar_worker.execute.buckets import bucket_of
from zipar_worker.execute.graph_check import largest_difference, tolerance_of, written_kv
from zipar_worker.execute.kv_cache import KvCache
from zipar_worker.execute.layers import Layers
from zipar_worker.execute.model_inputs import ModelInputs, input_count, view_inputs
from zipar_worker.execute.progress_count import advance_
from zipar_worker.execute.step_layout import Step
from zipar_worker.execute.step_shape import Padding, StepShape

MOST_GRAPHS = 64
MOST_BYTES = 1 << 30


class Captured(Protocol):
    """byte_count: of the device, by which the memory of all graphs grew."""

    @property
    def byte_count(self) -> int: ...

    def replay(self) -> None:
        """Launches what was captured, on the current stream."""
        ...


class Capture(Protocol):
    """Makes graphs that share memory, which is free once the last of them and this are gone."""

    def __call__(self, run: Callable[[], None]) -> Captured:
        """Calls `run` twice: first to have everything prepared, then to record what it launches. The second runs
        nothing. Raises a RuntimeError where that cannot be done.
        """
        ...


@dataclass(frozen=True, slots=True)
class StepGraph:
    """inputs: where it reads them; hidden: [B, Q, dim], where it leaves its result until another graph runs."""

    inputs: ModelInputs
    hidden: Tensor
    captured: Captured


class StepGraphs:
    """Owns the graphs of one K/V pool: at most `most_graphs`, the least recently used go first, and `most_bytes`.

    Their memory comes back as a whole, so past `most_bytes` all of them go.
    """

    def __init__(
        self,
        layers: Layers,
        padding: Padding,
        make_capture: Callable[[], Capture],
        most_graphs: int = MOST_GRAPHS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._layers = layers
        self._padding = padding
        self._make_capture = make_capture
        self._most_graphs = most_graphs
        self._most_bytes = most_bytes
        self._capture: Capture | None = None
        self._graphs: OrderedDict[StepShape, StepGraph] = OrderedDict()
        self._byte_count = 0
        """Never less than what they take: what one leaves behind, others may use."""
        self._too_large: set[StepShape] = set()
        self.off_reason: str | None = None
        """Why graphs are turned off, for the user."""
        self._warnings: list[str] = []

    @property
    def captured(self) -> Sequence[StepShape]:
        """The least recently used first."""
        return tuple(self._graphs)

    def bucket_of(self, shape: StepShape) -> StepShape | None:
        """The shape to lay a forward out in, if a graph shall run it. shape: without padding."""
        cache = self._layers.cache
        bucket = bucket_of(shape, self._padding, cache.keys[0].shape[0], cache.stored_slot_count)
        return None if self.off_reason is not None or bucket in self._too_large else bucket

    def replay(self, inputs: ModelInputs) -> Tensor | None:
        """The result of the layers: [B, Q, dim], valid until the next replay; None where there is no graph yet.

        inputs: laid out in a bucket.
        """
        return self._replay_(inputs) if inputs.shape in self._graphs else None

    def first_use(self, step: Step, run_plainly: Callable[[], tuple[Step, Tensor]]) -> tuple[Step, Tensor]:
        """Captures the graph of a step's shape and compares it with `run_plainly`, whose step and result it returns.

        The graph is captured over padding alone and then run with the step, so that a number of the step that it does
        not read from its inputs is missed. The plain run comes last: what stands in the K/V pool is its own.
        """
        results = None
        try:
            if self._capture_(step.inputs.shape):
                results = _wanted(step, self._replay_(step.inputs)), written_kv(self._layers.cache, step.inputs)
        except RuntimeError as error:  # running out of memory is one
            self.turn_off_(f"that of {_named(step.inputs.shape)} could not be captured: {error}")
        plain_step, plain_hidden = run_plainly()
        if results is not None:
            plain_results = _wanted(plain_step, plain_hidden), written_kv(self._layers.cache, step.inputs)
            self._judge_(step.inputs.shape, results, plain_results)
        return plain_step, plain_hidden

    def turn_off_(self, reason: str) -> bool:
        """Frees the memory of all graphs, for good; whether there were any to free. reason: for the user."""
        had_graphs = len(self._graphs) > 0
        self.off_reason = reason
        self._release_()
        self._warnings.append(
            f"CUDA graphs are turned off until the engine is started again, and forwards run without them: {reason}"
        )
        return had_graphs

    def take_warnings_(self) -> tuple[str, ...]:
        """What the user does not know yet."""
        taken = tuple(self._warnings)
        self._warnings.clear()
        return taken

    def _replay_(self, inputs: ModelInputs) -> Tensor:
        self._graphs.move_to_end(inputs.shape)
        graph = self._graphs[inputs.shape]
        graph.inputs.numbers.copy_(inputs.numbers)
        graph.captured.replay()
        advance_()
        return graph.hidden

    def _capture_(self, shape: StepShape) -> bool:
        """Whether there is a graph now. A graph that takes more than all may have is not asked for again."""
        if self._capture is None:
            self._capture = self._make_capture()
        graph = _capture(self._layers, shape, self._capture)
        self._graphs[shape] = graph
        self._byte_count += graph.captured.byte_count
        if len(self._graphs) > self._most_graphs:
            self._graphs.popitem(last=False)
        if self._byte_count <= self._most_bytes:
            return True
        if graph.captured.byte_count > self._most_bytes:
            self._too_large.add(shape)
        self._release_()
        return False

    def _release_(self) -> None:
        self._graphs.clear()
        self._capture = None
        self._byte_count = 0

    def _judge_(self, shape: StepShape, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
        difference = largest_difference(found, expected)
        tolerance = tolerance_of(self._layers.cache)
        if not difference <= tolerance:  # a NaN is no agreement
            self.turn_off_(
                f"that of {_named(shape)} gave other numbers than the forward without it: they differ by "
                f"{difference:.2g} of their size, expected at most {tolerance:g}. The results without it were taken. "
                "`scripts/gpu-check` shows more; please report it."
            )


def _capture(layers: Layers, shape: StepShape, capture: Capture) -> StepGraph:
    inputs = _padding_alone(shape, layers.cache)
    hidden = torch.empty(0)

    def run() -> None:
        nonlocal hidden
        hidden = layers(inputs)

    captured = capture(run)
    return StepGraph(inputs, hidden, captured)


def _padding_alone(shape: StepShape, cache: KvCache) -> ModelInputs:
    """Inputs of which every query is padding, in memory of their own."""
    device = cache.steps.device
    inputs = view_inputs(shape, torch.zeros(input_count(shape), dtype=torch.int64, device=device))
    inputs.slots.fill_(cache.trash_slot)
    first = shape.cache_rows[0]
    torch.arange(first, first + len(shape.cache_rows), out=inputs.cache_row_indices)
    return inputs


def _wanted(step: Step, hidden: Tensor) -> Tensor:
    """What the head reads: [L, dim], in the order of the step whatever its shape."""
    return hidden.flatten(0, 1).index_select(0, step.logit_rows)


def _named(shape: StepShape) -> str:
    return f"{len(shape.cache_rows)} rows of {shape.query_count} queries over {shape.key_count} slots"
