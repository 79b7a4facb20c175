"""What the forwards of a whole image take, each with its own queries and its own visible slots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from statistics import median
from typing import TypeVar

from zipar_testing.executor_requests import runs_of
from zipar_testing.gpu_check.course import Course
from zipar_testing.gpu_check.device_clock import wall_ms
from zipar_testing.gpu_check.graphs import by_graphs
from zipar_testing.gpu_check.report import Section
from zipar_testing.gpu_check.timed_model import TimedModel
from zipar_testing.gpu_check.wavefront import Query, planned_queries

NOTE = (
    "Images: one at a time, guided, the worker's forwards alone, the prompt's among them. Where fewer were run than "
    "the image has, they lie evenly over it, and the time of the image is their mean times the number of all. graphs: "
    "with `cudaGraphs`; the first forward of each shape, which captures its graph, counts, the median shows the others."
)

Item = TypeVar("Item")

_LEAST_SAMPLE = 8


def measure_images(
    course: Course,
    section: Section,
    model: TimedModel,
    windows: Sequence[int],
    *,
    times_graphs: bool,
    seconds_each: float,
) -> None:
    """seconds_each: after which only a sample of an image's forwards is run, half of it with graphs."""
    section.verdict = "measured"
    for window in windows:
        forwards = list(planned_queries(model.layout, window))
        probes = _forward_times(model, forwards, _LEAST_SAMPLE)
        seconds = max(0.0, min(seconds_each, course.seconds_left - 5))
        affordable = int(seconds * 1000 / (sum(probes) / len(probes)) / 2)
        for has_graphs in (False, True) if times_graphs else (False,):
            with by_graphs(model.served.executor, model.device) if has_graphs else nullcontext():
                times = _forward_times(model, forwards, max(_LEAST_SAMPLE, affordable))
            mean = sum(times) / len(times)
            section.rows.append(
                {
                    "window": window,
                    "graphs": has_graphs,
                    "forwards": len(forwards),
                    "of them run": len(times),
                    "ms a forward": mean,
                    "median ms": median(times),
                    "longest ms": max(times),
                    "s an image": mean * len(forwards) / 1000,
                }
            )
            how = "by graphs" if has_graphs else "without graphs"
            course.say(f"{model.name}: window {window} {how}, {mean * len(forwards) / 1000:.1f} s an image")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if count >= len(items):
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def _forward_times(model: TimedModel, forwards: Sequence[list[Query]], most: int) -> list[float]:
    """Milliseconds of so many of the forwards. Those between them count as written."""
    chosen, written = set(spread(range(len(forwards)), most)), set[int]()
    times = []
    for index, queries in enumerate(forwards):
        written |= {query.slot for query in queries}
        if index in chosen:
            times.append(wall_ms(model.forward(queries, runs_of(written)), model.device))
    return times
