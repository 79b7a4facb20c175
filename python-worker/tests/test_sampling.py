"""Filters and draws: against the official filter, against plain loops, and against their own law."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zipar_worker.execute.sampling import (
    FilterSettings,
    _exponential_noise,
    draw,
    filtered_weights,
    guide,
    normalised,
)
from zipar_worker.stub import law

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "llamagen_official.json").read_text())["sampling"]


def settings_of(rows: list[tuple[float, int, float]]) -> FilterSettings:
    """rows: (temperature, top-k, top-p) of each query."""
    temperatures, top_k, top_p = (list(column) for column in zip(*rows, strict=True))
    return FilterSettings(
        temperatures=torch.tensor(temperatures, dtype=torch.float64),
        top_k=torch.tensor(top_k),
        top_p=torch.tensor(top_p, dtype=torch.float64),
        largest_top_k=max(top_k),
        same_top_k=len(set(top_k)) == 1,
        some_top_p=min(top_p) < 1,
        some_greedy=min(temperatures) == 0,
        all_greedy=max(temperatures) == 0,
    )


def probabilities(logits: Tensor, rows: list[tuple[float, int, float]]) -> Tensor:
    return normalised(filtered_weights(logits, settings_of(rows)))


def plain_probabilities(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """The law, token by token."""
    codes = range(len(logits))
    if temperature == 0:
        return [float(code == logits.index(max(logits))) for code in codes]
    kept = set(codes)
    if 0 < top_k < len(logits):
        kept = {code for code in codes if logits[code] >= sorted(logits, reverse=True)[top_k - 1]}
    weights = [math.exp((logits[code] - max(logits)) / temperature) if code in kept else 0.0 for code in codes]
    total, mass, nucleus = sum(weights), 0.0, set()
    for code in sorted(codes, key=lambda code: (-weights[code], code)):
        if mass < top_p * total or top_p == 1:
            nucleus.add(code)
        mass += weights[code]
    total = sum(weights[code] for code in nucleus)
    return [weights[code] / total if code in nucleus else 0.0 for code in codes]


def test_guidance_moves_away_from_the_unconditional_logits() -> None:
    conditional, unconditional = torch.tensor([[1.0, 2.0]] * 3), torch.tensor([[0.5, 4.0]] * 3)
    guided = guide(conditional, unconditional, torch.tensor([1.0, 0.0, 3.0]))
    torch.testing.assert_close(guided, torch.tensor([[1.0, 2.0], [0.5, 4.0], [2.0, -2.0]]))


@pytest.mark.parametrize(
    "case", OFFICIAL, ids=lambda case: "-".join(str(case[key]) for key in ("temperature", "topK", "topP"))
)
def test_filters_equal_the_official_ones_ties_with_the_kth_included(case: dict[str, Any]) -> None:
    logits = torch.tensor(case["logits"])
    row = (case["temperature"], case["topK"], case["topP"])
    expected = torch.tensor(case["probabilities"])
    torch.testing.assert_close(probabilities(logits, [row] * len(logits)), expected, atol=2e-6, rtol=0)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_every_query_follows_its_own_settings(data: st.DataObject) -> None:
    codes = data.draw(st.integers(2, 12))
    count = data.draw(st.integers(1, 4))
    # Quarters make ties common and top-p sums exact enough to be far from their threshold.
    logit = st.integers(-8, 8).map(lambda quarter: quarter / 4)
    logits = [data.draw(st.lists(logit, min_size=codes, max_size=codes)) for _ in range(count)]
    rows = [
        (
            data.draw(st.sampled_from([0.0, 0.3, 1.0, 2.5])),
            data.draw(st.integers(0, codes + 3)),
            data.draw(st.sampled_from([1.0, 0.9137, 0.5171, 0.0313])),
        )
        for _ in range(count)
    ]
    expected = torch.tensor([plain_probabilities(row, *settings) for row, settings in zip(logits, rows, strict=True)])
    torch.testing.assert_close(probabilities(torch.tensor(logits), rows), expected, atol=1e-6, rtol=0)


def test_ties_with_the_last_kept_token_are_kept() -> None:
    kept = probabilities(torch.tensor([[1.0, 3.0, 1.0, 0.0, 1.0]]), [(1.0, 2, 1.0)]) > 0
    assert kept.tolist() == [[True, True, True, False, True]]


def test_a_top_k_beyond_the_vocabulary_keeps_everything() -> None:
    logits = torch.randn(2, 9)
    off = probabilities(logits, [(1.0, 0, 1.0)] * 2)
    assert torch.equal(probabilities(logits, [(1.0, 50, 1.0)] * 2), off)
    assert torch.equal(probabilities(logits, [(1.0, 9, 1.0), (1.0, 0, 1.0)]), off)


def test_greedy_takes_the_lowest_of_the_largest_with_probability_one() -> None:
    logits = torch.tensor([[0.0, 5.0, 5.0, 1.0]])
    for uniform in (0.0, 0.5, 1 - 2**-53):
        tokens, chances = draw(
            filtered_weights(logits, settings_of([(0.0, 3, 0.1)])), torch.tensor([uniform], dtype=torch.float64)
        )
        assert (tokens.item(), chances.item()) == (1, 1.0)


@pytest.mark.parametrize("temperature", [1e-300, 1e-5, 1000.0])
def test_no_temperature_overflows(temperature: float) -> None:
    result = probabilities(torch.tensor([[-40.0, 30.0, 29.0]]), [(temperature, 0, 1.0)])
    assert result.isfinite().all() and result.sum().item() == pytest.approx(1.0)


def test_the_noise_of_a_token_is_the_one_of_the_sdk_and_of_the_stub() -> None:
    # test/schedule/distribution.test.ts has the same numbers
    expected = {
        (0.0, 0): 0.20732694297096382,
        (0.5, 0): 0.9790259218934978,
        (0.999999999, 16383): 3.5944564658219407,
        (1 - 2**-53, 2**24): 1.632752634872084,
    }
    for (uniform, token), noise in expected.items():
        numbers = _exponential_noise(torch.tensor([uniform], dtype=torch.float64), token + 1)
        assert numbers[0, token].item() == pytest.approx(noise, rel=1e-14)
        assert law._exponential_noise(int(uniform * 2**32), token) == pytest.approx(noise, rel=1e-14)


def test_the_draw_is_the_token_with_the_largest_weight_for_its_noise() -> None:
    weights = torch.rand(200, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    uniforms = torch.rand(200, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tokens, chances = draw(weights, uniforms)
    for row, uniform, token, chance in zip(weights.tolist(), uniforms.tolist(), tokens, chances, strict=True):
        assert law.draw(list(enumerate(row)), uniform)[0] == token
        assert chance == pytest.approx(row[token] / sum(row))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_largest_uniform_never_draws_a_token_of_no_probability(seed: int) -> None:
    weights = torch.rand(1, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights[0, 30:] = 0.0
    tokens, chances = draw(weights, torch.tensor([1 - 2**-53], dtype=torch.float64))
    assert tokens.item() < 30 and chances.item() > 0


@pytest.mark.parametrize("row", [(1.0, 0, 1.0), (0.7, 10, 1.0), (1.4, 0, 0.8)])
def test_draws_follow_the_filtered_distribution(row: tuple[float, int, float]) -> None:
    generator = torch.Generator().manual_seed(5)
    count, codes = 20000, 24
    logits = torch.randn(1, codes, generator=generator) * 1.5
    weights = filtered_weights(logits, settings_of([row]))
    uniforms = torch.rand(count, generator=generator, dtype=torch.float64)
    tokens, _ = draw(weights.expand(count, -1), uniforms)
    expected = normalised(weights)[0].double() * count
    observed = torch.bincount(tokens, minlength=codes).double()
    assert observed[expected == 0].sum() == 0
    possible = expected > 0
    chi_square = ((observed - expected)[possible].square() / expected[possible]).sum().item()
    freedom = int(possible.sum()) - 1
    # Beyond 4 standard deviations of the chi-square law.
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_not_a_number_reaches_the_caller_instead_of_an_index_beyond_the_vocabulary() -> None:
    logits = torch.full((1, 6), torch.nan)
    weights = filtered_weights(logits, settings_of([(1.0, 3, 0.5)]))
    tokens, chances = draw(weights, torch.tensor([0.5], dtype=torch.float64))
    assert 0 <= tokens.item() < 6 and not chances.isfinite().all()
