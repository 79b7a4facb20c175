"""The token law of the stub, which `src/stub` implements in TypeScript too: both must agree.

A token is a hash of the seed, the cell, the class, the token to the left, and the tokens above that the query sees. The
hash names four candidates with weights 8, 4, 2 and 1; temperature, top-k and top-p apply to these.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from zipar_worker.wire.protocol import ForwardSequence

HASH_START = 0x811C9DC5

WEIGHTS = (8.0, 4.0, 2.0, 1.0)
"""Of the candidates, in the order of their salts; sums of different subsets differ, so there are no ties."""

TOTAL_WEIGHT = 15.0

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x9E3779B1
_CANDIDATE_SALT = 0x51ED


def is_covered(slot: int, firsts: list[int], ends: list[int]) -> bool:
    """Whether one of the ascending runs [first, end) covers `slot`."""
    run = bisect_right(firsts, slot) - 1
    return run >= 0 and slot < ends[run]


def mix(state: int, values: Iterable[int]) -> int:
    """A round of the 32-bit hash for each value; values are not negative."""
    for value in values:
        state = ((state ^ value) * _MULTIPLIER) & _MASK
        state ^= state >> 15
    return state


def candidates(state: int, code_count: int) -> dict[int, float]:
    """Token to weight, equal tokens merged."""
    weights: dict[int, float] = {}
    for salt, weight in enumerate(WEIGHTS, _CANDIDATE_SALT):
        mixed = ((state ^ salt) * _MULTIPLIER) & _MASK
        token = (mixed ^ (mixed >> 15)) % code_count
        weights[token] = weights.get(token, 0.0) + weight
    return weights


def filtered_distribution(weights: dict[int, float], entry: ForwardSequence) -> list[tuple[int, float]]:
    """Tokens ascending with their probabilities after temperature, top-k and top-p."""
    temperature = entry.temperature
    if temperature == 0:
        return [(max(weights, key=lambda token: (weights[token], -token)), 1.0)]
    ordered = sorted(weights.items())
    if temperature == 1 and entry.top_p == 1 and not 0 < entry.top_k < len(ordered):
        # Nothing to filter; this branch only saves time.
        return [(token, weight / TOTAL_WEIGHT) for token, weight in ordered]
    if temperature != 1:
        # Relative to the heaviest, so that a low temperature underflows to 0 instead of overflowing.
        heaviest = max(weights.values())
        ordered = [(token, (weight / heaviest) ** (1 / temperature)) for token, weight in ordered]
    if 0 < entry.top_k < len(ordered):
        threshold = sorted([weight for _, weight in ordered], reverse=True)[entry.top_k - 1]
        ordered = [(token, weight) for token, weight in ordered if weight >= threshold]
    ordered = _normalised(ordered)
    if entry.top_p < 1:
        ordered = _normalised(_nucleus(ordered, entry.top_p))
    return ordered


def draw(distribution: list[tuple[int, float]], uniform: float) -> tuple[int, float]:
    """The token with the largest probability divided by its exponential noise, as `execute/sampling.py` draws."""
    seed = int(uniform * 2**32)
    return max(distribution, key=lambda entry: entry[1] / _exponential_noise(seed, entry[0]))


def _exponential_noise(seed: int, token: int) -> float:
    return -math.log1p(-(_hash(_hash(token + 1) ^ seed) + 0.5) / 2**32)


def _hash(value: int) -> int:
    """MurmurHash3's finaliser of 32 bits."""
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & _MASK
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def _nucleus(distribution: list[tuple[int, float]], top_p: float) -> list[tuple[int, float]]:
    """The smallest set of most probable tokens whose mass reaches `top_p`, in the order received."""
    kept: set[int] = set()
    mass = 0.0
    for token, probability in sorted(distribution, key=lambda entry: (-entry[1], entry[0])):
        kept.add(token)
        mass += probability
        if mass >= top_p:
            break
    return [(token, probability) for token, probability in distribution if token in kept]


def _normalised(distribution: list[tuple[int, float]]) -> list[tuple[int, float]]:
    total = sum([weight for _, weight in distribution])
    return [(token, weight / total) for token, weight in distribution]
