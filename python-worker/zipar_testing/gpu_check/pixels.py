"""Pixels of the same codes from two devices."""

from __future__ import annotations

from array import array

import torch

from zipar_testing.gpu_check.random_models import Served
from zipar_worker.wire.arrays import Array, view_as


def random_codes(served: Served, seed: int) -> Array:
    """Of an image of the model's first grid."""
    grid = served.card.grids[0]
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(served.card.code_count, (grid.rows * grid.columns,), generator=generator).tolist()
    return Array("codes", "int32", (grid.rows, grid.columns), view_as(array("i", codes).tobytes(), "int32"))


def compare_pixels(
    name: str, tested: Served, reference: Served, *, seed: int, tolerance: int
) -> dict[str, str | int | float | bool]:
    """tolerance: of the levels 0 to 255, a pixel's largest deviation. A row like those of the draws."""
    codes = random_codes(reference, seed)
    given, wanted = (
        torch.tensor(served.executor.decode_image(codes).data.tolist(), dtype=torch.int16)
        for served in (tested, reference)
    )
    deviations = (given - wanted).abs()
    return {
        "script": name,
        "dtype": "float32",
        "forwards": 1,
        "feeds": 0,
        "of them filtered": 0,
        "draws": 0,
        "other draws": 0,
        "other tokens kept": 0,
        "mean deviation": float(deviations.float().mean()),
        "largest": float(deviations.max()),
        "passed": bool(deviations.max() <= tolerance),
    }
