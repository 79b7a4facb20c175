"""Pictures as bytes and as the networks see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zipar_worker.judge.classifier import to_pixels

__all__ = ["save_sheet", "to_pictures", "to_pixels"]

_GAP = 4


def to_pictures(pixels: Tensor) -> Tensor:
    """pixels: [B, 3, H, W], about -1 to 1 -> [B, H, W, 3] uint8."""
    return pixels.float().clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).contiguous()


def save_sheet(path: Path, pictures: NDArray[np.uint8], columns: int) -> None:
    """Write pictures: [N, H, W, 3] into one PNG, row by row, a white gap between neighbours."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for k, picture in enumerate(pictures):
        top, left = k // columns * (height + _GAP), k % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    Image.fromarray(sheet).save(path)
