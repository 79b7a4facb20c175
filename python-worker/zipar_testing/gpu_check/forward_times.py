"""What a forward takes by its rows, against the time in which its weights can be read."""

from __future__ import annotations

from collections.abc import Sequence

from zipar_testing.gpu_check.course import Course
from zipar_testing.gpu_check.device_clock import Run, Timing, count_work, time_run
from zipar_testing.gpu_check.graphs import by_graphs
from zipar_testing.gpu_check.report import Section, Value
from zipar_testing.gpu_check.step_cost import kv_bytes_read, weight_bytes_read
from zipar_testing.gpu_check.timed_model import TimedModel
from zipar_testing.gpu_check.wavefront import Query

ROWS = (2, 32, 16, 64, 128, 256)
"""Queries times two branches, what tells most first."""

NOTE = (
    "Forwards: the queries of two branches are the last ones of half of the image's slots, and all draw. wall: the "
    "median of the worker's whole forward, upload to read-back; device: between two events of the device around it; "
    "busy: the kernels of one forward alone; floor: the weights that a forward reads and the visible keys and values, "
    "at the speed of a copy; launches: kernels, or on a CPU operators; first: the first forward of that shape, which "
    "may choose kernels. graph: wall, as a CUDA graph (`cudaGraphs`), and its first forward, which captures it and "
    "compares. On CUDA the queries of a row are rounded up to a multiple of 4."
)

_MEASURES = (
    *("wall ms", "device ms", "busy ms", "floor ms", "wall / floor", "launches", "first ms"),
    *("graph ms", "wall / graph", "first graph ms"),
)
_LEAST_SECONDS = 5


def measure_forwards(
    course: Course,
    section: Section,
    model: TimedModel,
    *,
    rows: Sequence[int],
    count: int,
    times_graphs: bool,
    bytes_per_second: float | None,
) -> None:
    """count: of timed runs; bytes_per_second: of a copy on the device."""
    weights, half = weight_bytes_read(model.served), model.layout.slot((model.layout.rows // 2, 0))
    section.note = (
        f"{model.served.card.parameter_count / 1e9:.3g} billion parameters in {model.dtype}, of which a forward reads "
        f"{weights / 1e9:.3g} GB; {half} visible slots."
    )
    section.verdict = "measured"
    floor = 1000 * (weights + kv_bytes_read(model.served, half, 2)) / bytes_per_second if bytes_per_second else None
    for row_count in rows:
        query_count = row_count // 2
        row: dict[str, Value] = {"rows": row_count, **dict.fromkeys(_MEASURES)}
        section.rows.append(row)
        if course.seconds_left < _LEAST_SECONDS or query_count >= half:
            course.say(f"{model.name}: {row_count} rows skipped")
            continue
        queries = [Query(slot, (0, 0), (0, 0)) for slot in range(half - query_count, half)]
        run = model.forward(queries, [(0, half)])
        timing = time_run(run, model.device, warm_ups=min(3, count), count=count)
        work = count_work(run, model.device)
        graph = _time_graph(run, section, model, count) if times_graphs else None
        row |= {
            "wall ms": timing.wall,
            "device ms": timing.device,
            "busy ms": work.busy_ms,
            "floor ms": floor,
            "wall / floor": timing.wall / floor if floor else None,
            "launches": work.launches,
            "first ms": timing.first,
            "graph ms": graph.wall if graph else None,
            "wall / graph": timing.wall / graph.wall if graph else None,
            "first graph ms": graph.first if graph else None,
        }
        course.say(f"{model.name}: {row_count} rows, {timing.wall:.2f} ms, {work.launches} launches")
    section.rows.sort(key=lambda row: int(row["rows"] or 0))


def _time_graph(run: Run, section: Section, model: TimedModel, count: int) -> Timing | None:
    """None where the forward has no graph."""
    with by_graphs(model.served.executor, model.device) as graphs:
        timing = time_run(run, model.device, warm_ups=min(3, count), count=count)
        if graphs.off_reason is not None:
            section.note += f" Graphs: {graphs.off_reason}."
        return timing if len(graphs.captured) > 0 else None
