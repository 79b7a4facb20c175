"""From logits to tokens: guidance, temperature, top-k, top-p and the draw, in that order (docs/algorithm.md).

Batched over the queries that want something, each with its own parameters. Nothing here waits for the device: what
decides the flow of control comes from the host. V is the number of codes, W the number of queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """How the queries want their logits filtered.

    temperatures: float64 [W], 0 is greedy; top_k: int64 [W], 0 is off; top_p: float64 [W], 1 is off.
    The other fields say on the host what occurs in them, so that work for what does not occur is left out.
    """

    temperatures: Tensor
    top_k: Tensor
    top_p: Tensor
    largest_top_k: int
    same_top_k: bool
    some_top_p: bool
    some_greedy: bool
    all_greedy: bool


def guide(conditional: Tensor, unconditional: Tensor, scales: Tensor) -> Tensor:
    """`u + scale * (c - u)`. conditional, unconditional: float32 [W, V] raw logits; scales: float32 [W]."""
    return unconditional + scales[:, None] * (conditional - unconditional)


def filtered_weights(logits: Tensor, settings: FilterSettings) -> Tensor:
    """The sampling distribution, not normalised: float64 [W, V], 0 for tokens that were filtered out.

    logits: float32 [W, V], after guidance. The largest logit is subtracted before the division by the temperature, so
    that no temperature overflows.
    """
    if settings.all_greedy:
        return _one_hot_of_largest(logits)
    greedy = settings.temperatures == 0
    shifted = (logits - logits.amax(dim=-1, keepdim=True)).double()
    weights = (shifted / torch.where(greedy, 1.0, settings.temperatures)[:, None]).exp_()
    if settings.largest_top_k > 0:
        weights = torch.where(logits >= _top_k_thresholds(logits, settings), weights, 0.0)
    if settings.some_top_p:
        weights = _nucleus(weights, settings.top_p[:, None])
    if settings.some_greedy:
        weights = torch.where(greedy[:, None], _one_hot_of_largest(logits), weights)
    return weights


def draw(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """An exact draw from each distribution, and the probability of its token: the largest weight divided by noise.

    Each token has exponential noise of its own, made from the query's number: the race that is also known as Gumbel's
    arg-max. The same number draws the same token from two distributions with probability (1 - d) / (1 + d) or more, d
    their total variation distance (docs/algorithm.md). NaN reaches the caller as a probability that is none.
    weights: float64 [D, V]; uniforms: float64 [D] in [0, 1) -> tokens: int64 [D], probabilities: float64 [D].
    """
    tokens = (weights / _exponential_noise(uniforms, weights.shape[-1])).argmax(dim=-1, keepdim=True)
    return tokens[:, 0], (weights.gather(1, tokens) / weights.sum(dim=-1, keepdim=True))[:, 0]


def normalised(weights: Tensor) -> Tensor:
    """weights: float64 [N, V] -> probabilities: float32 [N, V]."""
    return (weights / weights.sum(dim=-1, keepdim=True)).float()


def _top_k_thresholds(logits: Tensor, settings: FilterSettings) -> Tensor:
    """The k-th largest logit of each query, -inf where top-k is off: float32 [W, 1]. Ties with it are kept."""
    largest = min(settings.largest_top_k, logits.shape[-1])
    if settings.same_top_k:
        # Ordering the kept ones would take longer than finding them.
        return logits.topk(largest, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
    ordered = logits.topk(largest, dim=-1).values
    ranks = settings.top_k.clamp(min=1, max=largest)[:, None] - 1
    off = (settings.top_k == 0) | (settings.top_k > logits.shape[-1])
    return torch.where(off[:, None], -torch.inf, ordered.gather(1, ranks))


def _nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Keeps the most probable tokens up to and including the one that reaches `top_p` of the mass.

    Among equal weights the lower token counts as the more probable. top_p: float64 [W, 1].
    """
    ordered, tokens = weights.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(dim=-1)
    before = cumulative.roll(1, dims=-1)
    before[:, 0] = 0.0
    kept_in_order = (before < top_p * cumulative[:, -1:]) | (top_p >= 1)
    kept = torch.zeros_like(kept_in_order).scatter_(1, tokens, kept_in_order)
    return torch.where(kept, weights, 0.0)


def _one_hot_of_largest(logits: Tensor) -> Tensor:
    """float64 [W, V]: 1 at the largest logit, at the lowest token where several are equal."""
    largest = logits.argmax(dim=-1, keepdim=True)
    return torch.zeros(logits.shape, dtype=torch.float64, device=logits.device).scatter_(1, largest, 1.0)


def _exponential_noise(uniforms: Tensor, code_count: int) -> Tensor:
    """Exponentially distributed numbers: float64 [D, V]. The same as in `src/schedule/random.ts`."""
    codes = _hash_(torch.arange(1, code_count + 1, device=uniforms.device))
    hashes = _hash_(codes ^ (uniforms * 2**32).long()[:, None])
    return hashes.double().add_(0.5).mul_(-(2.0**-32)).log1p_().neg_()


def _hash_(values: Tensor) -> Tensor:
    """MurmurHash3's finaliser of 32 bits, in place. values: int64, from 0 to 2^32 - 1."""
    values ^= values >> 16
    values.mul_(0x85EBCA6B).bitwise_and_(0xFFFFFFFF)
    values ^= values >> 13
    values.mul_(0xC2B2AE35).bitwise_and_(0xFFFFFFFF)
    values ^= values >> 16
    return values
