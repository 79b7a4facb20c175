"""All sections of a check, the most useful ones first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from zipar_testing.gpu_check import attention_times, correctness, decode_times, forward_times, image_times
from zipar_testing.gpu_check.architectures import Architecture
from zipar_testing.gpu_check.attention_times import measure_attention
from zipar_testing.gpu_check.correctness import check_architecture, check_checkpoint
from zipar_testing.gpu_check.course import Course
from zipar_testing.gpu_check.decode_times import measure_decode, reset_peak
from zipar_testing.gpu_check.device_clock import copy_speed
from zipar_testing.gpu_check.devices import facts_of
from zipar_testing.gpu_check.forward_times import measure_forwards
from zipar_testing.gpu_check.image_times import measure_images
from zipar_testing.gpu_check.report import Report, Section
from zipar_testing.gpu_check.sizes import SIZES, SizeName, Sizes
from zipar_testing.gpu_check.timed_model import TimedModel, build
from zipar_worker.wire.protocol import TypeName

DEMO = Path(__file__).resolve().parents[3] / "checkpoints" / "demo"

Half = Literal["correctness", "timings"]


def check_device(
    device: torch.device, *, out: Path, budget_seconds: float, size: SizeName, only: Half | None
) -> Report:
    """Writes the report into `out` after each section."""
    notes = [module.NOTE for module in (correctness, forward_times, image_times, attention_times, decode_times)]
    report = Report({**facts_of(device), "sizes": size, "budget s": budget_seconds}, notes)
    course = Course(report, out, budget_seconds)
    course.say(", ".join(f"{name} {value}" for name, value in report.facts.items()))
    sizes = SIZES[size]()
    if only != "timings":
        # Otherwise a slow CPU would leave nothing for the timings.
        _check_results(course, device, sizes, least_seconds=0.0 if only else budget_seconds / 2)
    if only != "correctness":
        _measure_times(course, device, sizes)
    report.facts["seconds"] = budget_seconds - course.seconds_left
    report.write(out)
    return report


def _check_results(course: Course, device: torch.device, sizes: Sizes, least_seconds: float) -> None:
    checks = {architecture.name: partial(check_architecture, architecture, device) for architecture in sizes.checked}
    if sizes.has_demo:
        checks["the demo checkpoint from its files"] = partial(check_checkpoint, DEMO, device)
    for name, check in checks.items():
        course.run(f"same results: {name}", check, needs_seconds=least_seconds)


def _measure_times(course: Course, device: torch.device, sizes: Sizes) -> None:
    dtype: TypeName = "float32" if device.type == "cpu" else "bfloat16"
    speed: list[float] = []
    course.run("speed of a copy", partial(_measure_copy, speed, device, sizes.copied_bytes))
    for architecture in sizes.timed:
        is_first = architecture is sizes.timed[0]
        _measure_model(course, architecture, device, dtype, sizes, speed[0] if speed else None, is_first)


def _measure_copy(speed: list[float], device: torch.device, byte_count: int, section: Section) -> None:
    speed.append(copy_speed(device, byte_count))
    section.verdict = "measured"
    section.note = "The best of ten copies on the device. What is read and what is written both count."
    section.rows.append({"bytes": 2 * byte_count, "GB/s": speed[0] / 1e9})


def _measure_model(
    course: Course,
    architecture: Architecture,
    device: torch.device,
    dtype: TypeName,
    sizes: Sizes,
    bytes_per_second: float | None,
    is_first: bool,
) -> None:
    """Its sections share the model, which is gone afterwards. Without it they are listed as skipped."""
    models: list[TimedModel] = []

    def built(section: Section) -> None:
        reset_peak(device)
        models.append(build(architecture, device, dtype))
        section.verdict = "measured"

    def with_model(measure: Callable[[TimedModel, Section], None], section: Section) -> None:
        if models:
            measure(models[0], section)
        else:
            section.note = "there is no model"

    course.run(f"{architecture.name}: random weights", built, needs_seconds=sizes.model_seconds)
    measures: dict[str, Callable[[TimedModel, Section], None]] = {
        "forwards": lambda model, section: measure_forwards(
            course,
            section,
            model,
            rows=sizes.rows,
            count=sizes.count,
            times_graphs=sizes.times_graphs,
            bytes_per_second=bytes_per_second,
        ),
        "images": lambda model, section: measure_images(
            course,
            section,
            model,
            sizes.windows,
            times_graphs=sizes.times_graphs,
            seconds_each=sizes.image_seconds,
        ),
        "attention": lambda model, section: measure_attention(
            section, model, rows=sizes.attention_rows, count=sizes.count
        ),
        "pixels and memory": lambda model, section: measure_decode(section, model, count=min(3, sizes.count)),
    }
    for name, measure in measures.items():
        if is_first or name not in ("images", "attention"):
            course.run(f"{architecture.name}: {name}", partial(with_model, measure))
