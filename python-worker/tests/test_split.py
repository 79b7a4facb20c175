"""A model that is split over ranks computes what the whole model does, and each rank has its share of the bytes."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from zipar_testing.executor_requests import DISTRIBUTION, DRAW, NONE, Feed, forward_request, init_request
from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ForwardResult
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.execute.ranks import Ranks
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import (
    ClassCard,
    ClassConditioning,
    EncodePrompt,
    KvCacheForm,
    Profile,
    TextConditioning,
    WeightForm,
)

Result = TypeVar("Result")

CHECKPOINTS = {
    "llamagen": "llamagen --rows 4 --columns 5 --no-vq --kv-heads 2",
    "emu3": "emu3 --layout hf --area 2304 --seed 3",
    "Lumina-mGPT-7B-128": "lumina-mgpt --size 128 --seed 3",
    "janus": "janus --layout native --rows 6 --seed 3",
    "emu3-5": "emu3-5 --seed 3",
    "anole": "anole --seed 3",
    "liquid": "liquid --seed 3",
    "lumina-mgpt-2": "lumina-mgpt-2 --seed 3",
    "star": "star --seed 3",
    "simplear": "simplear --seed 3",
}


class Meeting:
    """Where the threads that stand for ranks exchange tensors."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=60)
        self.parts: list[Tensor] = [torch.empty(0)] * count


class ThreadRanks(Ranks):
    def __init__(self, rank: int, count: int, meeting: Meeting) -> None:
        super().__init__(rank, count)
        self.meeting = meeting

    def sum_(self, part: Tensor) -> Tensor:
        return torch.stack(self.exchange(part)).sum(0)

    def join(self, part: Tensor) -> Tensor:
        return torch.cat(self.exchange(part), dim=-1)

    def exchange(self, part: Tensor) -> list[Tensor]:
        self.meeting.parts[self.rank] = part
        self.meeting.barrier.wait()
        parts = list(self.meeting.parts)
        self.meeting.barrier.wait()
        return parts


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("split")
    for name, options in CHECKPOINTS.items():
        write_tiny([*options.split(), "--out", str(folder / name)])
    return {name: folder / name for name in CHECKPOINTS}


def start(
    path: Path, ranks: Ranks | None = None, weights: WeightForm = "full", kv_cache: KvCacheForm = "full"
) -> TorchExecutor:
    executor = TorchExecutor()
    if ranks is not None:
        executor._ranks = ranks
    request = init_request(path, image_count=1, device="cpu", dtype="float32", weights=weights, kv_cache=kv_cache)
    executor.init(request, lambda phase, completed, total, unit: None)
    return executor


def start_ranks(
    path: Path, count: int, weights: WeightForm = "full", kv_cache: KvCacheForm = "full"
) -> list[TorchExecutor]:
    meeting = Meeting(count)
    return [start(path, ThreadRanks(rank, count, meeting), weights, kv_cache) for rank in range(count)]


def together(executors: list[TorchExecutor], work: Callable[[TorchExecutor], Result]) -> list[Result]:
    with ThreadPoolExecutor(len(executors)) as pool:
        return list(pool.map(work, executors))


def hold_prompt(executor: TorchExecutor) -> int:
    card = executor._description.card
    grid = card.grids[0]
    is_class = isinstance(card.conditioning, ClassCard)
    prompt = executor.encode_prompt(
        EncodePrompt(
            epoch=0,
            request=0,
            frames=(),
            sequence=1,
            cache_rows=(0, 1),
            rows=grid.rows,
            columns=grid.columns,
            conditioning=ClassConditioning(class_index=1)
            if is_class
            else TextConditioning(prompt="a red cat", negative_prompt=None),
        )
    )
    return prompt.prompt_length


def draw_some(executor: TorchExecutor) -> list[ForwardResult]:
    """A prefill that draws, and a step of two tokens that reads what the prefill wrote."""
    length = hold_prompt(executor)
    prefill = [(0, slot, DRAW if slot == length - 1 else NONE) for slot in range(length)]
    first = Feed(1, prefill, [(0, length)], uniforms=[0.4], guidance_scale=2.0, temperature=1.0)
    second = Feed(
        1,
        [(3, length, DRAW), (4, length + 1, DISTRIBUTION)],
        [(0, length + 2)],
        uniforms=[0.7],
        guidance_scale=2.0,
        temperature=1.0,
        top_k=8,
    )
    return [executor.forward(forward_request(executor, [feed])) for feed in (first, second)]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_rank_of_every_family_draws_what_the_whole_model_draws(checkpoints: dict[str, Path], name: str) -> None:
    expected = draw_some(start(checkpoints[name]))
    for results in together(start_ranks(checkpoints[name], 2), draw_some):
        for result, whole in zip(results, expected, strict=True):
            assert result.drawn_tokens == whole.drawn_tokens
            assert result.drawn_probabilities.tolist() == pytest.approx(whole.drawn_probabilities.tolist(), rel=1e-4)
            assert result.distribution_tokens == whole.distribution_tokens
            assert result.distribution_probabilities.tolist() == pytest.approx(
                whole.distribution_probabilities.tolist(), rel=1e-4
            )


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_ranks_hold_of_a_split_parameter_is_that_parameter(checkpoints: dict[str, Path], name: str) -> None:
    whole = start(checkpoints[name])._family.transformer
    first, second = (executor._family.transformer for executor in start_ranks(checkpoints[name], 2))
    split = 0
    for key, parameter in whole.named_parameters():
        parts = [first.get_parameter(key), second.get_parameter(key)]
        if parts[0].numel() == parameter.numel():
            continue
        split += 1
        assert [2 * part.numel() for part in parts] == [parameter.numel()] * 2
        numbers = torch.cat([part.flatten() for part in parts])
        assert torch.equal(numbers.sort().values, parameter.flatten().sort().values)
    layers = whole.decoder.config.layer_count
    assert split >= 4 * layers + 1


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_rank_has_half_of_the_keys_and_values_and_says_what_it_has(checkpoints: dict[str, Path], name: str) -> None:
    whole = start(checkpoints[name])
    for executor in start_ranks(checkpoints[name], 2):
        description = executor._description
        assert 2 * executor._cache.keys[0].numel() == whole._cache.keys[0].numel()
        assert 2 * description.kv_shape.head_count == whole._description.kv_shape.head_count
        assert description.card.parameter_count == whole._description.card.parameter_count
        assert description.card.kv_bytes_per_slot == whole._description.card.kv_bytes_per_slot
        loaded = sum(parameter.nbytes for parameter in executor._family.transformer.parameters())
        assert description.weight_bytes["transformer"] == loaded
        assert loaded < whole._description.weight_bytes["transformer"]


@pytest.mark.parametrize("name", ["emu3", "llamagen", "star"])
def test_int8_weights_that_are_split_are_those_of_the_whole_model(checkpoints: dict[str, Path], name: str) -> None:
    whole = start(checkpoints[name], weights="int8")
    ranks = start_ranks(checkpoints[name], 2, "int8")
    key = "decoder.layers.0.self_attn.o_proj"
    parts = [executor._family.transformer.get_parameter(f"{key}.weight") for executor in ranks]
    assert torch.equal(torch.cat(parts, dim=1), whole._family.transformer.get_parameter(f"{key}.weight"))
    for executor in ranks:
        scales = executor._family.transformer.get_parameter(f"{key}.scales")
        assert torch.equal(scales, whole._family.transformer.get_parameter(f"{key}.scales"))
    expected = draw_some(whole)
    for results in together(ranks, draw_some):
        assert [result.drawn_tokens for result in results] == [result.drawn_tokens for result in expected]


def test_keys_and_values_as_int8_are_split_too(checkpoints: dict[str, Path]) -> None:
    whole = start(checkpoints["emu3"], kv_cache="int8")
    ranks = start_ranks(checkpoints["emu3"], 2, kv_cache="int8")
    expected = draw_some(whole)
    for results in together(ranks, draw_some):
        assert [result.drawn_tokens for result in results] == [result.drawn_tokens for result in expected]
    for executor in ranks:
        assert executor._cache.keys[0].dtype == torch.int8
        bytes_per_slot = executor._description.kv_shape.bytes_per_slot(torch.float32)
        assert 2 * bytes_per_slot == whole._description.card.kv_bytes_per_slot


def test_every_rank_knows_the_attention_of_all_heads(checkpoints: dict[str, Path]) -> None:
    def profile(executor: TorchExecutor) -> list[list[float]]:
        hold_prompt(executor)
        grid = executor._description.card.grids[0]
        codes = array("i", range(grid.rows * grid.columns)).tobytes()
        request = Profile(epoch=0, request=0, frames=(), sequence=1)
        arrays = executor.profile(request, Array("codes", "int32", (grid.rows, grid.columns), view_as(codes, "int32")))
        return [part.data.tolist() for part in arrays]

    expected = profile(start(checkpoints["llamagen"]))
    for arrays in together(start_ranks(checkpoints["llamagen"], 2), profile):
        for numbers, whole in zip(arrays, expected, strict=True):
            assert numbers == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("count", [3, 64])
def test_a_model_that_has_no_equal_shares_is_refused(checkpoints: dict[str, Path], count: int) -> None:
    with pytest.raises(WorkerError, match=f"cannot be split over {count} devices: it has .* divisible") as caught:
        start(checkpoints["llamagen"], Ranks(0, count))
    assert caught.value.code == "device"
