"""Loads the decoder of a family's image tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zipar_worker.checkpoints.checkpoint import Checkpoint, load_module_
from zipar_worker.execute.contract import ProgressReporter

_DECODER_KEYS = ("decoder.", "post_quant_conv.", "quantize.embedding.")


def load_image_decoder_(
    decoder: nn.Module,
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    report: ProgressReporter,
    ignored: Callable[[str], bool] = lambda name: False,
    adapt: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Always float32, as in the official codes: it runs once per image. `ignored`, `adapt`: see `load_module_`."""
    load_module_(
        decoder,
        checkpoint,
        dtype=torch.float32,
        device=device,
        report=lambda completed, total: report("load the image tokenizer", completed, total, "bytes"),
        ignored=ignored,
        adapt=adapt,
    )


def is_beside_decoder(name: str) -> bool:
    """Whether a key of a taming-style image tokenizer belongs to its encoder or its training."""
    return not name.startswith(_DECODER_KEYS)
