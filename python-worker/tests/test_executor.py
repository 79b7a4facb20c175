"""The executor against a float64 implementation of the same model that shares no code with it."""

from __future__ import annotations

import random
from array import array
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from executor_driver import DISTRIBUTION, DRAW, NONE, Driver, Feed, runs_of, start, write_checkpoint
from msgspec import structs
from plain_llamagen import PlainConfig, PlainSequence, greedy_tokens, seeded_state
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ForwardResult
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import ImageDecoderCard, KvCacheForm, WeightForm

CONFIG = PlainConfig(dim=64, layers=2, heads=4, kv_heads=4, codes=48, classes=7, rows=4, columns=5)
STATE = seeded_state(CONFIG, seed=11)
GROUPED = replace(CONFIG, kv_heads=2)
GROUPED_STATE = seeded_state(GROUPED, seed=12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), CONFIG, STATE)


@pytest.fixture(scope="module")
def grouped_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("grouped"), GROUPED, GROUPED_STATE)


def next_token_order(driver: Driver, sequence: int, guidance_scale: float) -> list[int]:
    """Raster order, one query per forward, greedy."""
    tokens: list[int] = []
    previous = 0
    for slot in range(CONFIG.rows * CONFIG.columns):
        feed = Feed(sequence, [(previous, slot, DRAW)], [(0, slot + 1)], [0.5], guidance_scale)
        previous = driver.forward(feed).drawn_tokens[0]
        tokens.append(previous)
    return tokens


def log_probabilities(result: ForwardResult, codes: int = CONFIG.codes) -> Tensor:
    """The distributions of a result, unfiltered: float64 [N, codes]."""
    assert result.distribution_lengths.tolist() == [codes] * len(result.distribution_lengths)
    return torch.tensor(result.distribution_probabilities.tolist()).double().view(-1, codes).log()


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_next_token_order_equals_a_plain_loop_without_a_cache(checkpoint: Path, guidance_scale: float) -> None:
    driver = start(checkpoint)
    driver.encode(5, class_index=3, cache_rows=(0, 1))
    assert next_token_order(driver, 5, guidance_scale) == greedy_tokens(CONFIG, STATE, 3, guidance_scale)


def test_a_single_branch_is_the_conditional_one(checkpoint: Path) -> None:
    driver = start(checkpoint)
    driver.encode(5, class_index=3, cache_rows=(2,))
    assert next_token_order(driver, 5, guidance_scale=9.0) == greedy_tokens(CONFIG, STATE, 3, None)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cache_rows", [(0, 1), (3, 1)])
def test_queries_out_of_order_see_exactly_the_runs_up_to_their_own_slot(
    checkpoint: Path, grouped_checkpoint: Path, seed: int, cache_rows: tuple[int, int]
) -> None:
    grouped = seed % 2 == 1
    config, state = (GROUPED, GROUPED_STATE) if grouped else (CONFIG, STATE)
    driver = start(grouped_checkpoint if grouped else checkpoint)
    driver.encode(1, class_index=2, cache_rows=cache_rows)
    branches = [PlainSequence(config, state, index) for index in (2, config.classes)]
    chance = random.Random(seed)
    written: set[int] = set()
    for _ in range(5):
        fed = sorted(chance.sample(range(config.rows * config.columns + 1), chance.randint(1, 4)))
        written |= set(fed)
        # Slots may be hidden again, as long as every query sees its own.
        visible = {slot for slot in written if slot in fed or chance.random() < 0.8}
        queries = [(0 if slot == 0 else chance.randrange(config.codes), slot) for slot in fed]
        conditional, unconditional = (torch.stack(branch.feed(queries, visible)) for branch in branches)
        expected = (unconditional + 2.5 * (conditional - unconditional)).log_softmax(-1)
        result = driver.forward(
            Feed(
                sequence=1,
                queries=[(token, slot, DISTRIBUTION) for token, slot in queries],
                runs=runs_of(visible),
                guidance_scale=2.5,
                temperature=1.0,
            )
        )
        torch.testing.assert_close(log_probabilities(result, config.codes), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kv_cache", ["full", "int8"])
@pytest.mark.parametrize("seed", range(4))
def test_one_forward_with_steps_rebuilds_what_several_forwards_wrote(
    checkpoint: Path, seed: int, kv_cache: KvCacheForm
) -> None:
    chance = random.Random(seed)
    *slots, last_slot = range(1, CONFIG.rows * CONFIG.columns)
    chance.shuffle(slots)
    steps = [[0], *(sorted(slots[first : first + 3]) for first in range(0, len(slots), 3))]
    queries = [[(0 if slot == 0 else chance.randrange(CONFIG.codes), slot, NONE) for slot in fed] for fed in steps]
    last = [(1, last_slot, DISTRIBUTION)]
    written: set[int] = set()
    one_by_one, rebuilt = (start(checkpoint, kv_cache=kv_cache) for _ in range(2))
    for driver in (one_by_one, rebuilt):
        driver.encode(1, class_index=2, cache_rows=(0, 1))
    for step in queries:
        written |= {slot for _, slot, _ in step}
        one_by_one.forward(Feed(1, step, runs_of(written), guidance_scale=2.0))
    numbers = [number for number, step in enumerate(queries) for _ in step]
    together = [query for step in queries for query in step]
    rebuilt.forward(Feed(1, together, runs_of(written), branches=(0,), steps=numbers))
    rebuilt.forward(Feed(1, together, runs_of(written), branches=(1,), steps=numbers))
    final = Feed(1, last, runs_of(written | {last_slot}), guidance_scale=2.0, temperature=1.0, steps=[len(queries)])
    expected, received = (log_probabilities(driver.forward(final), CONFIG.codes) for driver in (one_by_one, rebuilt))
    torch.testing.assert_close(received, expected, atol=1e-4, rtol=1e-4)
    # Without the steps, queries would see what was written after them.
    rebuilt.forward(Feed(1, together, runs_of(written), guidance_scale=2.0))
    careless = log_probabilities(rebuilt.forward(final), CONFIG.codes)
    assert (careless - expected).abs().max() > 1e-2


@pytest.mark.parametrize(("weights", "kv_cache"), [("full", "full"), ("int8", "full"), ("full", "int8")])
def test_a_sequence_alone_and_among_others_gives_the_same_tokens(
    checkpoint: Path, weights: WeightForm, kv_cache: KvCacheForm
) -> None:
    alone = {}
    for sequence, class_index, scale in ((1, 0, 1.0), (2, 3, 2.0), (3, 6, 4.0)):
        driver = start(checkpoint, weights=weights, kv_cache=kv_cache)
        driver.encode(sequence, class_index, (0, 1))
        alone[sequence] = next_token_order(driver, sequence, scale)

    driver = start(checkpoint, image_count=4, weights=weights, kv_cache=kv_cache)
    driver.encode(1, 0, (4, 2))
    driver.encode(2, 3, (0, 7))
    driver.encode(3, 6, (5, 3))
    together: dict[int, list[int]] = {1: [], 2: [], 3: []}
    delays, scales = {1: 0, 2: 3, 3: 5}, {1: 1.0, 2: 2.0, 3: 4.0}
    cells = CONFIG.rows * CONFIG.columns
    for step in range(cells + max(delays.values())):
        feeds = []
        for sequence, tokens in together.items():
            slot = step - delays[sequence]
            if not 0 <= slot < cells:
                continue
            queries = [(tokens[-1] if tokens else 0, slot, DRAW)]
            if sequence == 2 and slot >= 2:
                # A refresh makes the sequences differ in their numbers of queries.
                queries.insert(0, (tokens[-2], slot - 1, NONE))
            feeds.append(Feed(sequence, queries, [(0, slot + 1)], [0.5], scales[sequence]))
        drawn = driver.forward(*feeds).drawn_tokens
        for feed, token in zip(feeds, drawn, strict=True):
            together[feed.sequence].append(token)
    assert together == alone


def test_sampling_settings_belong_to_their_sequence(checkpoint: Path) -> None:
    driver = start(checkpoint, image_count=3)
    driver.encode(1, 0, (0, 1))
    driver.encode(2, 0, (2,))
    driver.encode(3, 0, (3, 4))
    result = driver.forward(
        Feed(1, [(0, 0, DISTRIBUTION)], [(0, 1)], temperature=1.0, top_k=5, guidance_scale=2.0),
        Feed(2, [(0, 0, DRAW)], [(0, 1)], [0.99], temperature=0.0),
        Feed(3, [(0, 0, DISTRIBUTION)], [(0, 1)], temperature=0.5, top_p=0.3, guidance_scale=1.0),
    )
    conditional, unconditional = (PlainSequence(CONFIG, STATE, index).feed([(0, 0)], [0])[0] for index in (0, 7))
    guided = unconditional + 2.0 * (conditional - unconditional)
    assert result.drawn_tokens.tolist() == [int(conditional.argmax())]
    assert result.drawn_probabilities.tolist() == [1.0]
    assert result.distribution_lengths[0] == 5
    assert result.distribution_tokens[:5].tolist() == sorted(guided.topk(5).indices.tolist())
    nucleus_length = result.distribution_lengths[1]
    ordered = (conditional / 0.5).softmax(0).sort(descending=True)
    assert nucleus_length == int((ordered.values.cumsum(0) < 0.3).sum()) + 1
    assert result.distribution_tokens[5:].tolist() == sorted(ordered.indices[:nucleus_length].tolist())
    assert sum(result.distribution_probabilities[5:]) == pytest.approx(1.0, abs=1e-6)


def test_a_forward_that_wants_nothing_still_writes_its_slots(checkpoint: Path) -> None:
    driver = start(checkpoint)
    driver.encode(1, 3, (0, 1))
    reference = start(checkpoint)
    reference.encode(1, 3, (0, 1))
    result = driver.forward(Feed(1, [(0, 0, NONE), (7, 1, NONE)], [(0, 2)]))
    assert len(result.drawn_tokens) == len(result.distribution_lengths) == 0
    after = Feed(1, [(9, 2, DISTRIBUTION)], [(0, 3)], temperature=1.0)
    whole = Feed(1, [(0, 0, NONE), (7, 1, NONE), (9, 2, DISTRIBUTION)], [(0, 3)], temperature=1.0)
    torch.testing.assert_close(
        log_probabilities(driver.forward(after)), log_probabilities(reference.forward(whole)), atol=1e-5, rtol=1e-5
    )


def test_a_released_cache_row_serves_the_next_sequence_without_a_trace(checkpoint: Path) -> None:
    driver = start(checkpoint, image_count=1)
    driver.encode(1, 6, (0, 1))
    next_token_order(driver, 1, 2.0)
    driver.executor.release([1])
    driver.encode(2, 3, (1, 0))
    fresh = start(checkpoint, image_count=1)
    fresh.encode(2, 3, (0, 1))
    assert next_token_order(driver, 2, 2.0) == next_token_order(fresh, 2, 2.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(checkpoint: Path, dtype: str) -> None:
    feed = Feed(1, [(0, 0, NONE), (4, 1, NONE), (5, 2, DISTRIBUTION)], [(0, 3)], temperature=1.0, guidance_scale=2.0)
    results = []
    for kind in ("float32", dtype):
        driver = start(checkpoint, dtype=kind)
        driver.encode(1, 1, (0, 1))
        results.append(log_probabilities(driver.forward(feed)).exp())
    assert (results[0] - results[1]).abs().max() < 0.05


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    broken = {**STATE, "norm.weight": torch.full_like(STATE["norm.weight"], torch.nan)}
    driver = start(write_checkpoint(tmp_path, CONFIG, broken))
    driver.encode(1, 0, (0, 1))
    with pytest.raises(WorkerError, match="not finite") as caught:
        driver.forward(Feed(1, [(0, 0, DRAW)], [(0, 1)], [0.5], temperature=1.0, top_k=3))
    assert caught.value.code == "checkpoint"


def test_pixels_without_an_image_tokenizer_are_a_clear_error(checkpoint: Path) -> None:
    driver = start(checkpoint)
    assert driver.loaded.card.image_decoder is None
    with pytest.raises(WorkerError, match="no image tokenizer") as caught:
        driver.executor.decode_image(Array("codes", "int32", (1, 1), view_as(bytes(4), "int32")))
    assert caught.value.code == "bad-request"


def test_an_absent_device_is_a_device_error(checkpoint: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        start(checkpoint, device="cuda:99")
    assert caught.value.code == "device"


def test_a_cache_that_cannot_fit_is_refused_with_figures(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: 1_000_000)
    monkeypatch.setattr("zipar_worker.execute.executor.free_memory", lambda device: 1_000_000)
    with pytest.raises(WorkerError, match="K/V cache for 1024 images") as caught:
        start(checkpoint, image_count=1024)
    assert caught.value.code == "out-of-memory"
    assert caught.value.details["freeBytes"] == 1_000_000


class CrampedDecoder(ImageDecoder):
    """Has no room on the GPU, where it is until it is moved."""

    pixels_per_token = 1

    def __init__(self) -> None:
        super().__init__()
        self.places = ["cuda"]

    def to(self, device: torch.device) -> CrampedDecoder:  # type: ignore[override]
        self.places.append(device.type)
        return self

    def decode(self, codes: Tensor) -> Tensor:
        if len(self.places) != 2:
            raise torch.OutOfMemoryError("no room")
        return (codes[:, None] / 3.0).expand(-1, 3, -1, -1)


def test_pixels_that_do_not_fit_on_the_gpu_are_decoded_on_the_cpu_once_no_image_is_at_work(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    driver = start(checkpoint)
    driver.encode(1, 0, (0, 1))
    executor, decoder = driver.executor, CrampedDecoder()
    executor._device = torch.device("cuda", 0)
    executor._family.image_decoder = decoder
    card = executor._description.card
    executor._description = replace(
        executor._description, card=structs.replace(card, image_decoder=ImageDecoderCard(pixels_per_token=1))
    )
    codes = Array("codes", "int32", (1, 2), memoryview(array("i", [0, 3])))
    with pytest.raises(WorkerError, match="the decoding of 1 x 2 tokens") as raised:
        executor.decode_image(codes)
    assert raised.value.code == "out-of-memory" and decoder.places == ["cuda"]

    executor.release([1])
    assert executor.decode_image(codes).data.tolist() == [128, 128, 128, 255, 255, 255]
    assert decoder.places == ["cuda", "cpu", executor._family.transformer.device.type], "it is back where it was"
    assert "The image is decoded on the CPU" in capfd.readouterr().err
