"""Where attention goes: the sums against a loop over all pairs, the weights against a float64 transformer."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
import torch
from executor_driver import Driver, start, write_checkpoint
from plain_llamagen import PlainConfig, PlainSequence, seeded_state
from torch import Tensor

from zipar_worker.execute.profile import AttentionBlock, AttentionProfile, SlotGrid, attend_in_blocks
from zipar_worker.wire.arrays import Array
from zipar_worker.wire.protocol import Profile

GRIDS = [
    SlotGrid(3, 4, prompt_length=1),
    SlotGrid(4, 3, prompt_length=5),
    SlotGrid(3, 4, prompt_length=2, has_row_ends=True),
    SlotGrid(1, 4, prompt_length=1),
    SlotGrid(3, 1, prompt_length=2, has_row_ends=True),
]


def causal_weights(layers: int, heads: int, slot_count: int) -> Tensor:
    """Random ones: [layers, heads, T, T]."""
    scores = torch.randn(layers, heads, slot_count, slot_count, generator=torch.Generator().manual_seed(1))
    hidden = torch.ones(slot_count, slot_count).triu(1).bool()
    return scores.masked_fill(hidden, float("-inf")).softmax(-1)


def slot_of(grid: SlotGrid, row: int, column: int) -> int:
    return grid.prompt_length + row * (grid.columns + (1 if grid.has_row_ends else 0)) + column


def naive_profile(grid: SlotGrid, weights: Tensor) -> dict[str, Tensor]:
    """The definition, pair by pair. weights: [layers, heads, T, T]."""
    layers, heads = weights.shape[:2]
    mass = torch.zeros(layers, heads, grid.rows, 2 * grid.columns - 1, dtype=torch.float64)
    other = torch.zeros(layers, heads, dtype=torch.float64)
    row_start = torch.zeros(grid.rows - 1, layers, heads, grid.columns, dtype=torch.float64)
    total = torch.zeros(grid.rows - 1, layers, heads, dtype=torch.float64)
    cells = [(row, column) for row in range(grid.rows) for column in range(grid.columns)]
    for row, column in cells[1:]:
        query = weights[:, :, slot_of(grid, row, column) - 1].double()
        other += query.sum(-1)
        for key_row, key_column in cells:
            paid = query[..., slot_of(grid, key_row, key_column)]
            if (key_row, key_column) >= (row, column):
                assert not paid.any()
                continue
            mass[:, :, row - key_row, key_column - column + grid.columns - 1] += paid
            other -= paid
            if column == 0:
                total[row - 1] += paid
                if key_row == row - 1:
                    row_start[row - 1, :, :, key_column] = paid
    count = len(cells) - 1
    return {"mass": mass / count, "otherMass": other / count, "rowStartMass": row_start, "rowStartTotal": total}


def check_arrays(arrays: tuple[Array, ...], expected: dict[str, Tensor]) -> None:
    assert [array.name for array in arrays] == list(expected)
    for received in arrays:
        wanted = expected[received.name]
        assert (received.dtype, received.shape) == ("float32", tuple(wanted.shape))
        values = torch.tensor(received.data.tolist(), dtype=torch.float64).view(received.shape)
        torch.testing.assert_close(values, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("block_size", [1, 5, 100])
def test_the_profile_equals_the_sums_over_all_pairs(grid: SlotGrid, block_size: int) -> None:
    weights = causal_weights(2, 3, grid.slot_count)
    sums = AttentionProfile(grid, 2, 3, torch.device("cpu"))
    for first in range(0, grid.slot_count, block_size):
        for layer in range(2):
            sums.add_(AttentionBlock(layer, first, weights[layer, :, first : first + block_size]))
    arrays = sums.arrays()
    check_arrays(arrays, naive_profile(grid, weights))
    mass, other = (torch.tensor(array.data.tolist()).view(array.shape) for array in arrays[:2])
    torch.testing.assert_close(mass.sum((2, 3)) + other, torch.ones(2, 3))


def test_blocks_of_any_size_give_the_same_attention_and_padding_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    queries = torch.randn(7, 4, 8, generator=generator)
    keys, values = torch.randn(2, 7, 2, 8, generator=generator)
    weights, attended = [], []
    for block_weights in (1, 3 * 4 * 7, 1 << 24):
        monkeypatch.setattr("zipar_worker.execute.profile.BLOCK_WEIGHTS", block_weights)
        blocks = list(attend_in_blocks(0, queries, keys, values, first_visible=2))
        weights.append(torch.cat([block.weights for block, _ in blocks], dim=1))
        attended.append(torch.cat([part for _, part in blocks]))
    for other in (1, 2):
        torch.testing.assert_close(weights[other], weights[0])
        torch.testing.assert_close(attended[other], attended[0])
    assert not weights[0][:, 2:, :2].any()
    torch.testing.assert_close(weights[0][:, 0, 0], torch.ones(4))


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_profile_of_a_checkpoint_is_that_of_a_float64_transformer(kv_heads: int, tmp_path: Path) -> None:
    config = PlainConfig(rows=3, columns=4, kv_heads=kv_heads)
    state = seeded_state(config, 3)
    tokens = [(7 * k) % config.codes for k in range(12)]
    plain = PlainSequence(config, state, class_index=2)
    plain.feed(list(zip([0, *tokens], range(13), strict=True)), range(13))
    weights = torch.zeros(config.layers, config.heads, 13, 13, dtype=torch.float64)
    for (layer, slot), paid in plain.weights.items():
        weights[layer, :, slot, : slot + 1] = paid.T
    driver = start(write_checkpoint(tmp_path, config, state))
    driver.encode(1, 2, (0, 1))
    check_arrays(profile(driver, tokens), naive_profile(SlotGrid(3, 4, prompt_length=1), weights))


def profile(driver: Driver, tokens: list[int]) -> tuple[Array, ...]:
    codes = Array("codes", "int32", (3, 4), memoryview(array("i", tokens)))
    return tuple(driver.executor.profile(Profile(epoch=0, request=0, frames=(), sequence=1), codes))
