"""Weights as int8: the numbers are those of the rounded model, and the memory is what is described."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executor_driver import DISTRIBUTION, NONE, Feed, start, write_checkpoint
from plain_llamagen import PlainConfig, seeded_state
from torch import nn

from zipar_worker.execute.int8 import round_to_int8
from zipar_worker.execute.linear import Linear, pack_linears_, store_as_int8_, stored_bytes

CONFIG = PlainConfig(dim=64, layers=2, heads=4, kv_heads=2, codes=48, classes=7, rows=4, columns=5)
STATE = seeded_state(CONFIG, seed=21)


def int8_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    linear = Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    store_as_int8_(nn.Sequential(linear))
    pack_linears_(nn.Sequential(linear))
    return linear


def test_a_row_is_rounded_by_at_most_half_of_its_own_step() -> None:
    weight = torch.randn(30, 17) * torch.logspace(-30, 30, 30)[:, None]
    weight[4] = 0
    rounded, scales = round_to_int8(weight)
    assert rounded.dtype == torch.int8 and scales.dtype == torch.float32
    assert rounded.abs().amax(dim=1).tolist() == [0 if row == 4 else 127 for row in range(30)]
    error = (rounded.double() * scales.double()[:, None] - weight.double()).abs().amax(dim=1)
    assert bool((error <= scales.double() * 0.5001).all())


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 40), (2, 1, 40), (3, 7, 40), (150, 40)])
def test_the_product_is_that_of_the_rounded_weight(
    shape: tuple[int, ...], has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zipar_worker.execute.linear._CACHED_NUMBERS", 7 * 40)  # several blocks, the last one short
    weight, bias = torch.randn(24, 40), torch.randn(24) if has_bias else None
    linear = int8_linear(weight, bias)
    rounded, scales = round_to_int8(weight)
    rows = torch.randn(shape)
    expected = rows.double() @ (rounded.double() * scales.double()[:, None]).T + (0 if bias is None else bias.double())
    torch.testing.assert_close(linear(rows).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_model_computes_with_its_rounded_weights_and_nothing_else_is_rounded(tmp_path: Path) -> None:
    def rounded(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not name.startswith("layers.") or tensor.dim() < 2:
            return tensor
        int8, scales = round_to_int8(tensor.float())
        return int8.float() * scales[:, None]

    original = write_checkpoint(tmp_path / "original", CONFIG, STATE)
    other = write_checkpoint(tmp_path / "rounded", CONFIG, {name: rounded(name, part) for name, part in STATE.items()})
    feed = Feed(1, [(0, 0, NONE), (4, 1, NONE), (5, 2, DISTRIBUTION)], [(0, 3)], temperature=1.0, guidance_scale=2.0)
    results = []
    for path, weights in ((original, "int8"), (other, "full"), (original, "full")):
        driver = start(path, weights=weights)  # type: ignore[arg-type]
        driver.encode(1, 1, (0, 1))
        results.append(torch.tensor(driver.forward(feed).distribution_probabilities.tolist()))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-4)
    assert (results[0] - results[2]).abs().max() > 1e-5, "nothing was rounded"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_memory_is_what_is_described(tmp_path: Path, dtype: str) -> None:
    driver = start(write_checkpoint(tmp_path / "checkpoint", CONFIG, STATE), weights="int8", dtype=dtype)
    transformer = driver.executor._family.transformer
    held = sum(parameter.nbytes for parameter in transformer.parameters())
    assert held == driver.executor._description.weight_bytes["transformer"]
    matrices = [part for part in transformer.decoder.modules() if isinstance(part, Linear)]
    assert all(part.weight.dtype == torch.int8 for part in matrices)
    assert transformer.decoder.norm.weight.dtype == getattr(torch, dtype)


def test_bytes_are_counted_the_same_before_and_after_loading() -> None:
    weight = torch.randn(24, 40)
    linear = Linear(40, 24, bias=True)
    store_as_int8_(linear)
    assert stored_bytes(linear, torch.float32) == 24 * 40 + 4 * 24 + 4 * 24
    assert stored_bytes(int8_linear(weight, torch.zeros(24)), torch.float32) == stored_bytes(linear, torch.float32)
