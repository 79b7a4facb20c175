"""Random weights that behave: activations keep their size, and logits spread over several units.

So greedy choices are clear, and every token, class and position matters.
"""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor, nn

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, stored_shapes

_LOGIT_SPREAD = 2.0


def random_state(module: nn.Module, generator: torch.Generator, keys: KeyMap = NO_RULES) -> dict[str, Tensor]:
    """Random tensors for every key of a file that fills a module, on any device, in the order of the keys."""
    shapes = {key: shape for stored in stored_shapes(module, keys).values() for key, shape in stored.items()}
    return {key: random_tensor(key, shapes[key], generator) for key in sorted(shapes)}


def random_tensor(
    name: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """One of them, on the generator's device."""
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
    if len(shape) == 1:
        return noise.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
    if any("embedding" in part for part in name.split(".")[-2:]):
        return noise
    spread = _LOGIT_SPREAD if name == "output.weight" else 1.0
    return noise.mul_(spread / sqrt(prod(shape[1:])))
