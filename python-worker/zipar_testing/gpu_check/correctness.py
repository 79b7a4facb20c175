"""The same results on the device as on the CPU, for every family, kind of window and lookahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from zipar_testing.executor_requests import init_request
from zipar_testing.gpu_check.architectures import Architecture
from zipar_testing.gpu_check.clear_draws import LOGIT_MARGIN, Sampling
from zipar_testing.gpu_check.compare import (
    FLOAT32_TOLERANCE,
    HALF_TOLERANCES,
    Deviation,
    repeat_exactly,
    repeat_nearly,
)
from zipar_testing.gpu_check.graphs import by_graphs
from zipar_testing.gpu_check.pixels import compare_pixels
from zipar_testing.gpu_check.random_models import Served, open_random, random_tensors, serve_loaded
from zipar_testing.gpu_check.recording import Part, Recording, record
from zipar_testing.gpu_check.report import Section
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.wire.protocol import TypeName

CPU = torch.device("cpu")
_CACHE_ROWS = 8
_LOOKAHEAD = 4
LOOSE_PIXELS = 16

NOTE = (
    f"float32, without TF32: every draw and every kept token the same, each probability within {FLOAT32_TOLERANCE}, "
    f"pixels within 1 of 255. Draws that a change of a logit by {LOGIT_MARGIN} would turn are not asked for. 16 bits: "
    f"mean and largest total variation distance to the distributions of float32 within "
    f"{', '.join(f'{mean} and {largest} ({dtype})' for dtype, (mean, largest) in HALF_TOLERANCES.items())}. Pixels "
    f"with PyTorch's defaults, which are TF32 on CUDA: within {LOOSE_PIXELS} of 255. graphs: by CUDA graphs, which "
    "must not turn themselves off."
)

Serve = Callable[[TypeName, torch.device], Served]


def check_architecture(architecture: Architecture, device: torch.device, section: Section) -> None:
    tensors = random_tensors(architecture, seed=1)

    def serve(dtype: TypeName, place: torch.device) -> Served:
        return serve_loaded(open_random(architecture, tensors), dtype, place, _CACHE_ROWS)

    check(serve, device, section)


def check_checkpoint(path: Path, device: torch.device, section: Section) -> None:
    """From its files, through what the server calls at a start."""

    def serve(dtype: TypeName, place: torch.device) -> Served:
        request = init_request(path, image_count=_CACHE_ROWS // 2, device=str(place), dtype=dtype)
        executor = TorchExecutor()
        loaded = executor.init(request, lambda phase, completed, total, unit: None)
        return Served(executor, loaded.card)

    check(serve, device, section, most_forwards=40)


def check(serve: Serve, device: torch.device, section: Section, most_forwards: int = 10_000) -> None:
    """most_forwards: of each script."""
    with without_tf32():
        reference, tested = serve("float32", CPU), serve("float32", device)
        scripts = record_scripts(reference, most_forwards)
        for script, recording in scripts.items():
            section.rows.append(_row(script, "float32", recording, *_exactly(tested, recording)))
        _repeat_by_graphs(section, tested, device, "float32", {name: scripts[name] for name in _SCRIPTS_BY_GRAPHS})
        section.rows.append(compare_pixels("image decode", tested, reference, seed=1, tolerance=1))
    section.rows.append(
        compare_pixels("image decode, PyTorch's defaults", tested, reference, seed=1, tolerance=LOOSE_PIXELS)
    )
    for dtype in HALF_TOLERANCES:
        recording, served = scripts[_ODD_BATCH], serve(dtype, device)
        section.rows.append(_row(_ODD_BATCH, dtype, recording, *_nearly(served, recording, dtype)))
        _repeat_by_graphs(section, served, device, dtype, {_ODD_BATCH: recording})
    section.verdict = "passed" if all(row["passed"] for row in section.rows) else "FAILED"


_ODD_BATCH = "3 sequences in odd cache rows"
_SCRIPTS_BY_GRAPHS = ("full window", "full window, lookahead", _ODD_BATCH)
"""The first two share graphs."""


def _exactly(served: Served, recording: Recording) -> tuple[Deviation, bool]:
    """And whether it is none."""
    deviation = repeat_exactly(served, recording)
    has_others = deviation.other_draws > 0 or deviation.other_kept > 0
    return deviation, not has_others and deviation.largest <= FLOAT32_TOLERANCE


def _nearly(served: Served, recording: Recording, dtype: TypeName) -> tuple[Deviation, bool]:
    mean, largest = HALF_TOLERANCES[dtype]
    deviation = repeat_nearly(served, recording)
    return deviation, deviation.mean <= mean and deviation.largest <= largest


def _repeat_by_graphs(
    section: Section, served: Served, device: torch.device, dtype: TypeName, recordings: Mapping[str, Recording]
) -> None:
    """One after the other, so that later ones use what earlier ones captured."""
    with by_graphs(served.executor, device) as graphs:
        for script, recording in recordings.items():
            exactly = dtype == "float32"
            deviation, passed = _exactly(served, recording) if exactly else _nearly(served, recording, dtype)
            was_used = graphs.off_reason is None and len(graphs.captured) > 0
            section.rows.append(_row(f"{script}, graphs", dtype, recording, deviation, passed and was_used))
        if graphs.off_reason is not None:
            section.note += f"{dtype}, graphs: {graphs.off_reason} "


def record_scripts(reference: Served, most_forwards: int) -> dict[str, Recording]:
    columns = reference.card.grids[0].columns
    guided, top_k = (0, 1), max(4, reference.card.code_count // 16)

    def script(*parts: Part, guessed: Recording | None = None) -> Recording:
        return record(reference, parts, guessed.tokens[1] if guessed else None, most_forwards)

    windows = {
        "window 1": (1, Sampling(1.0, top_k)),
        "window 3": (min(3, columns), Sampling(0.9, 0, 0.5)),
        "full window": (columns, Sampling(0.0)),
    }
    scripts: dict[str, Recording] = {}
    for title, (window, sampling) in windows.items():
        part = Part(1, guided, window, 2.5, sampling)
        scripts[title] = script(part)
        scripts[f"{title}, lookahead"] = script(replace(part, lookahead=_LOOKAHEAD), guessed=scripts[title])
    scripts[_ODD_BATCH] = script(
        Part(1, (5, 2), min(3, columns), 2.5, Sampling(0.8, 0, 0.5), guidance_ends=True),
        Part(2, (7,), 1, 1.0, Sampling(0.0), delay=2),
        Part(3, (3, 6), 2, 4.0, Sampling(1.2, top_k), delay=1),
    )
    return scripts


@contextmanager
def without_tf32() -> Iterator[None]:
    """PyTorch rounds the inputs of convolutions on CUDA to 10 bits unless it is told not to."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def _row(
    script: str, dtype: str, recording: Recording, deviation: Deviation, passed: bool
) -> dict[str, str | int | float | bool]:
    feeds = [feed for forward in recording.forwards for feed in forward.feeds]
    return {
        "script": script,
        "dtype": dtype,
        "forwards": len(recording.forwards),
        "feeds": len(feeds),
        "of them filtered": sum(feed.temperature == 0 or feed.top_k > 0 or feed.top_p < 1 for feed in feeds),
        "draws": deviation.draw_count,
        "other draws": deviation.other_draws,
        "other tokens kept": deviation.other_kept,
        "mean deviation": deviation.mean,
        "largest": deviation.largest,
        "passed": passed,
    }
