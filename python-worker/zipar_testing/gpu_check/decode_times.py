"""What the pixels of an image take, and how much memory the model, its forwards and its pixels took."""

from __future__ import annotations

import torch

from zipar_testing.gpu_check.device_clock import time_run
from zipar_testing.gpu_check.pixels import random_codes
from zipar_testing.gpu_check.report import Section
from zipar_testing.gpu_check.step_cost import memory_estimate
from zipar_testing.gpu_check.timed_model import TimedModel

NOTE = (
    "Pixels and memory: wall is from codes to bytes on the host; the estimate is what `zipar info` gives for the "
    "weights and one image; held is what was allocated with both; the peaks are of the forwards before, and of this."
)


def measure_decode(section: Section, model: TimedModel, count: int) -> None:
    """What was allocated at most counts from the start of the process or the last call of this."""
    executor, grid = model.served.executor, model.served.card.grids[0]
    codes = random_codes(model.served, seed=1)
    held, forwards = _allocated(model.device), _peak(model.device)
    timing = time_run(lambda: executor.decode_image(codes), model.device, warm_ups=0, count=count)
    section.rows.append(
        {
            "pixels": f"{grid.width} x {grid.height}",
            "wall ms": timing.wall,
            "device ms": timing.device,
            "first ms": timing.first,
            "estimate GiB": memory_estimate(model.served) / 2**30,
            "held GiB": held,
            "peak of forwards GiB": forwards,
            "peak of decoding GiB": _peak(model.device),
        }
    )
    section.verdict = "measured"


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _allocated(device: torch.device) -> float | None:
    return torch.cuda.memory_allocated(device) / 2**30 if device.type == "cuda" else None


def _peak(device: torch.device) -> float | None:
    """Since the last peak was read."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return peak
