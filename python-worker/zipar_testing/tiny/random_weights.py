"""Random weights that behave: activations keep their size, and logits spread over several units.

So greedy choices are clear, and every token, class and position matters.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

_LOGIT_SPREAD = 2.0


def random_state(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Random tensors for every parameter of a module, on any device, in the order of their names."""
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    return {name: _random_tensor(name, shapes[name], generator) for name in sorted(shapes)}


def _random_tensor(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1.0 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    if any("embedding" in part for part in name.split(".")[-2:]):
        return noise
    spread = _LOGIT_SPREAD if name == "output.weight" else 1.0
    return noise * (spread / sqrt(shape[1:].numel()))
