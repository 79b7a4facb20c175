"""The slot-addressed pool and the mask over it, against plain loops."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zipar_worker.execute.kv_cache import KvCache, KvShape
from zipar_worker.execute.visibility import visible_slots

SHAPE = KvShape(layer_count=2, head_count=3, head_dim=4)


def make_cache(cache_row_count: int = 5, slot_multiple: int = 1) -> KvCache:
    return KvCache(SHAPE, cache_row_count, 9, torch.float32, torch.device("cpu"), slot_multiple)


@pytest.mark.parametrize("slot_multiple", [1, 8])
@pytest.mark.parametrize("rows", [[1, 2], [0, 3], [4, 1]])
def test_what_was_written_to_a_slot_is_read_from_it_until_it_is_overwritten(
    rows: list[int], slot_multiple: int
) -> None:
    cache = make_cache(slot_multiple=slot_multiple)
    chance = random.Random(1)
    expected = torch.zeros(SHAPE.layer_count, 2, len(rows), cache.slot_count, SHAPE.head_count, SHAPE.head_dim)
    for _ in range(6):
        slots = torch.tensor([chance.sample(range(cache.slot_count), 3) for _ in rows])
        step = cache.open_step_(rows, torch.tensor(rows), slots, torch.zeros_like(slots), key_count=7)
        for layer in range(SHAPE.layer_count):
            written = torch.randn(2, len(rows), 3, SHAPE.head_count, SHAPE.head_dim)
            for row in range(len(rows)):
                for query in range(3):
                    expected[layer, :, row, slots[row, query]] = written[:, row, query]
            keys, values = step.update_(layer, written[0], written[1])
            assert torch.equal(keys, expected[layer, 0, :, :7])
            assert torch.equal(values, expected[layer, 1, :, :7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [[1, 2], [4, 1]])
def test_int8_keeps_each_head_to_half_a_step_of_its_own_scale(rows: list[int], dtype: torch.dtype) -> None:
    shape = KvShape(layer_count=2, head_count=3, head_dim=16, is_int8=True)
    cache = KvCache(shape, 5, 9, dtype, torch.device("cpu"))
    slots = torch.tensor([[3, 0], [1, 6]])
    sizes = torch.tensor([1e-2, 1.0, 300.0])[:, None]
    for layer in range(shape.layer_count):
        written = (torch.randn(2, 2, 2, 3, 16) * sizes).to(dtype)
        step = cache.open_step_(rows, torch.tensor(rows), slots, torch.zeros_like(slots), key_count=7)
        for read, original in zip(step.update_(layer, *written), written, strict=True):
            assert read.dtype == dtype and read.shape == (2, 7, 3, 16)
            for row in range(2):
                error = (read[row, slots[row]].double() - original[row].double()).abs().amax(-1)
                largest = original[row].double().abs().amax(-1)
                # Half a step, and what the number type rounds of the scale and of the result.
                assert bool((error <= largest * (0.5 / 127 + 3 * torch.finfo(dtype).eps)).all())
            unwritten = [slot for slot in range(7) if slot not in slots[0] and slot not in slots[1]]
            assert read[:, unwritten].eq(0).all()


def test_int8_rounds_a_slot_alone_whatever_is_written_beside_it() -> None:
    shape = KvShape(layer_count=1, head_count=3, head_dim=16, is_int8=True)
    together, alone = (KvCache(shape, 2, 9, torch.float32, torch.device("cpu")) for _ in range(2))
    written = torch.randn(1, 4, 3, 16) * torch.tensor([1.0, 50.0, 0.1, 7.0])[:, None, None]
    slots = torch.tensor([[2, 5, 0, 3]])
    row = torch.tensor([1])
    whole, _ = together.open_step_([1], row, slots, torch.zeros_like(slots), 6).update_(0, written, written)
    for query in range(4):
        one, slot = written[:, query : query + 1], slots[:, query : query + 1]
        parts, _ = alone.open_step_([1], row, slot, torch.zeros_like(slot), 6).update_(0, one, one)
    assert torch.equal(parts, whole)


def test_rows_side_by_side_are_read_in_place_and_others_are_gathered() -> None:
    cache = make_cache()
    slots = torch.zeros(2, 1, dtype=torch.int64)
    written = torch.ones(2, 1, SHAPE.head_count, SHAPE.head_dim)
    keys, _ = cache.open_step_([2, 3], torch.tensor([2, 3]), slots, torch.zeros_like(slots), 4).update_(
        0, written, written
    )
    assert keys.untyped_storage().data_ptr() == cache.keys[0].untyped_storage().data_ptr()
    keys, _ = cache.open_step_([1, 3], torch.tensor([1, 3]), slots, torch.zeros_like(slots), 4).update_(
        0, written, written
    )
    assert keys.untyped_storage().data_ptr() != cache.keys[0].untyped_storage().data_ptr()


def test_padding_writes_to_the_trash_slot_of_its_own_row() -> None:
    cache = make_cache(cache_row_count=3)
    slots = torch.tensor([[0, cache.trash_slot, cache.trash_slot]])
    written = torch.full((1, 3, SHAPE.head_count, SHAPE.head_dim), 7.0)
    cache.open_step_([1], torch.tensor([1]), slots, torch.zeros_like(slots), 1).update_(0, written, written)
    assert cache.keys[0][1, cache.trash_slot].eq(7).all()
    assert cache.keys[0][1, 1 : cache.trash_slot].eq(0).all()
    assert cache.keys[0][0].eq(0).all() and cache.keys[0][2].eq(0).all()


def test_bytes_per_slot_count_keys_and_values_of_all_layers() -> None:
    # LlamaGen-B in bfloat16: 36 KiB per token.
    assert KvShape(12, 12, 64).bytes_per_slot(torch.bfloat16) == 36 * 1024


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_takes_the_bytes_that_are_said(dtype: torch.dtype) -> None:
    shape = KvShape(3, 2, 64, is_int8=True)
    cache = KvCache(shape, 4, 9, dtype, torch.device("cpu"))
    pools = (*cache.keys, *cache.values, *cache.key_scales, *cache.value_scales)
    assert sum(pool.nbytes for pool in pools) == 4 * cache.stored_slot_count * shape.bytes_per_slot(dtype)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_query_sees_the_slots_written_by_its_step_up_to_its_own_beyond_the_padding_and_at_least_one(
    data: st.DataObject,
) -> None:
    key_count = data.draw(st.integers(1, 12))
    row_count, query_count, run_count = (data.draw(st.integers(1, 3)) for _ in range(3))
    bounds = st.lists(st.integers(0, key_count), min_size=2 * run_count, max_size=2 * run_count).map(sorted)
    runs = [data.draw(bounds) for _ in range(row_count)]
    offsets = [data.draw(st.integers(0, key_count)) for _ in range(row_count)]
    trash_slot = key_count + data.draw(st.integers(-1, 1))
    own = st.integers(0, min(key_count - 1, trash_slot)) | st.just(trash_slot)
    slots = [[data.draw(own) for _ in range(query_count)] for _ in range(row_count)]
    step = st.integers(0, 3)
    steps = [[data.draw(step) for _ in range(query_count)] for _ in range(row_count)]
    slot_steps = [[data.draw(step) for _ in range(key_count)] for _ in range(row_count)]
    mask = visible_slots(
        torch.tensor(slots),
        torch.tensor(offsets),
        torch.tensor(runs).view(row_count, run_count, 2),
        torch.tensor(steps),
        torch.tensor(slot_steps),
        trash_slot=trash_slot,
    )
    assert mask.shape == (row_count, 1, query_count, key_count) and mask.dtype == torch.bool
    for row in range(row_count):
        written = {
            slot for first, end in zip(runs[row][::2], runs[row][1::2], strict=True) for slot in range(first, end)
        }
        for query, slot in enumerate(slots[row]):
            seen = set(mask[row, 0, query].nonzero()[:, 0].tolist())
            if slot == trash_slot:
                assert seen == {0}
            else:
                earlier = {k for k in written if slot_steps[row][k] <= steps[row][query]}
                assert seen == {k for k in earlier if offsets[row] <= k <= slot} | {slot}
