"""Draws that rounding cannot decide, so that two devices have to agree on every one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zipar_worker.execute.sampling import FilterSettings, draw, filtered_weights

LOGIT_MARGIN = 2e-3
"""By how much logits are shaken; in float32 those of two devices differ by a fiftieth of that, with guidance."""
_SHAKEN_COUNT = 8
_ATTEMPTS = 40


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


PLAIN = Sampling()


def clear_uniforms(logits: Tensor, sampling: Sampling, names: Sequence[str]) -> list[float] | None:
    """A number for each query, whose draw stands when its logits are shaken; the first such of those that its name
    gives. None where shaken logits keep other tokens, or no number draws clearly. logits: [W, V] on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.empty((_SHAKEN_COUNT, *logits.shape)).uniform_(-LOGIT_MARGIN, LOGIT_MARGIN, generator=generator)
    shaken = torch.cat((logits[None], logits + noise)).flatten(0, 1)
    weights = filtered_weights(shaken, _settings(sampling, len(shaken))).view(1 + _SHAKEN_COUNT, *logits.shape)
    if not ((weights > 0) == (weights[0] > 0)).all():
        return None
    uniforms = [_clear_uniform(weights[:, index], name) for index, name in enumerate(names)]
    clear = [uniform for uniform in uniforms if uniform is not None]
    return clear if len(clear) == len(names) else None


def _clear_uniform(weights: Tensor, name: str) -> float | None:
    """weights: [1 + shaken, V], of one query."""
    chance = random.Random(name)
    for _ in range(_ATTEMPTS):
        uniform = chance.random()
        tokens, _ = draw(weights, torch.full((len(weights),), uniform, dtype=torch.float64))
        if (tokens == tokens[0]).all():
            return uniform
    return None


def _settings(sampling: Sampling, count: int) -> FilterSettings:
    return FilterSettings(
        temperatures=torch.full((count,), sampling.temperature, dtype=torch.float64),
        top_k=torch.full((count,), sampling.top_k),
        top_p=torch.full((count,), sampling.top_p, dtype=torch.float64),
        largest_top_k=sampling.top_k,
        same_top_k=True,
        some_top_p=sampling.top_p < 1,
        some_greedy=sampling.temperature == 0,
        all_greedy=sampling.temperature == 0,
    )
