"""Sets of generated pictures, as `zipar eval` writes them: safetensors files with `pictures` and `labels`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zipar_worker.errors import WorkerError


def load_pictures(path: Path) -> tuple[Tensor, Tensor]:
    """pictures: uint8 [N, H, W, 3]; labels: int64 [N]. Raises `bad-request`."""
    try:
        tensors = load_file(path)
        pictures, labels = tensors["pictures"], tensors["labels"].long()
    except (SafetensorError, OSError, KeyError) as error:
        raise WorkerError("bad-request", f"{path} cannot be read as a set of pictures: {error}.") from error
    if pictures.dim() != 4 or pictures.shape[-1] != 3 or pictures.dtype != torch.uint8 or len(labels) != len(pictures):
        raise WorkerError(
            "bad-request",
            f"{path}: expected pictures uint8 [N, H, W, 3] and as many labels, received {pictures.dtype} "
            f"{list(pictures.shape)} and {len(labels)} labels.",
        )
    if len(pictures) < 2:
        raise WorkerError("bad-request", f"{path} holds {len(pictures)} pictures; a distance needs at least 2.")
    return pictures, labels
