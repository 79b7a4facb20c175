"""Lumina-mGPT 7B at its full size on a GPU that is not there (see `test_fake_cuda.py`): shapes, bytes and waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DRAW, NONE, Feed, forward_request
from token_images import encode_request
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from zipar_testing.tiny.lumina_mgpt import token_names, write_tokenizer
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, Checkpoint, stored_shapes, without_weights
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families.description import Description
from zipar_worker.families.lumina_mgpt.facts import model_of
from zipar_worker.families.lumina_mgpt.files import DEFAULTS, Files
from zipar_worker.families.lumina_mgpt.prompt import PromptTokenizer
from zipar_worker.families.model import LoadedModel
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS, TokenTransformer
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_files import ImageTokenizer

CUDA = torch.device("cuda", 0)
OFFICIAL = DEFAULTS
"""Chameleon-7B's sizes, which are the format's defaults."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    """With the official ids of every token that is no text."""
    path = tmp_path_factory.mktemp("lumina") / "tokenizer.json"
    write_tokenizer(path, token_names(8192, range(8194, 8865)))
    return PromptTokenizer(path)


@pytest.fixture
def fake_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    # The read-back is the one place that may wait, and there is nothing to read.
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        yield


@dataclass
class Loaded:
    executor: TorchExecutor
    family: LoadedModel
    description: Description


def load(tokenizer: PromptTokenizer, target: int) -> Loaded:
    """Through the ordinary path, from tensors without content in the shapes and number types of the official files."""
    with without_weights():
        decoder_config = replace(OFFICIAL.decoder, head_norm="layer")
        transformer = TokenTransformer(decoder_config, OFFICIAL.vocab_size, 1e4, range(OFFICIAL.vocab_size), 0)
        decoder = ChameleonVQDecoder(ChameleonVQConfig())
    files = Files(
        name=f"Lumina-mGPT-7B-{target}",
        checkpoint=empty_checkpoint(transformer, torch.bfloat16, KeyMap(LLAMA_MODEL_KEYS)),
        config=OFFICIAL,
        has_output_norms=False,
        target=target,
        tokenizer=tokenizer,
        image_tokenizer=ImageTokenizer(empty_checkpoint(decoder, torch.float32), ChameleonVQConfig()),
    )
    opened = model_of(files)
    family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda *_: None)
    description = opened.describe(torch.bfloat16)
    executor = TorchExecutor()
    executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
    return Loaded(executor, family, description)


def empty_checkpoint(module: nn.Module, dtype: torch.dtype, keys: KeyMap = NO_RULES) -> Checkpoint:
    """Norms of queries and keys are stored once for all heads."""
    shapes = {key: shape for stored in stored_shapes(module, keys).values() for key, shape in stored.items()}
    return Checkpoint(
        Path("model"),
        {
            key: torch.empty((1, shape[1]) if "q_norm" in key or "k_norm" in key else shape, dtype=dtype)
            for key, shape in shapes.items()
        },
    )


def test_the_ids_are_the_official_ones(tokenizer: PromptTokenizer) -> None:
    vocabulary = tokenizer.vocabulary
    assert (vocabulary.begin_text, vocabulary.padding, vocabulary.end_turn) == (0, 1, 8710)
    assert (vocabulary.begin_image, vocabulary.row_end) == (8197, 8803)
    assert (vocabulary.sizes[1], vocabulary.sizes[24]) == (8805, 8828)
    assert vocabulary.codes == tuple(range(4, 8196))


@pytest.mark.usefixtures("fake_mode")
def test_a_prefill_a_step_of_14_queries_and_a_decoding_wait_for_nothing_in_the_memory_that_was_described(
    tokenizer: PromptTokenizer,
) -> None:
    target = 1024
    loaded = load(tokenizer, target)
    check_sizes(loaded)
    side = target // 16
    encoded = loaded.executor.encode_prompt(encode_request(side, side, "an otter in the rain"))
    length = encoded.prompt_length
    prefill = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    # One flag, token and probability as float64, sent as pairs of float32.
    assert run(loaded, Feed(1, prefill, [(0, length)], [0.5], 4.0, 1.0, 2000)).shape == (2 * 3,)
    # Fourteen rows are under way, each a token behind the one above; the last of the queries ends a row.
    slots = [length + row * (side + 1) + 14 - row for row in range(14)]
    runs = [(0, slots[0] + 1), *((length + row * (side + 1), slot + 1) for row, slot in enumerate(slots) if row)]
    queries = [(5, slot, DRAW) for slot in slots[:-1]] + [(8192, slots[-1], DRAW)]
    assert run(loaded, Feed(1, queries, runs, [0.5] * 14, 4.0, 1.0, 2000)).shape == (2 * 3 * 14,)
    pixels = loaded.family.decode_image(torch.zeros((side, side), dtype=torch.int64, device=CUDA))
    assert (pixels.shape, pixels.device, pixels.dtype) == ((target, target, 3), CUDA, torch.float32)


def run(loaded: Loaded, feed: Feed) -> Any:
    outcome: Any = loaded.executor.forward(forward_request(loaded.executor, [feed]))
    assert outcome.device == CUDA
    return outcome


def check_sizes(loaded: Loaded) -> None:
    """The weights and the cache, on their device, have the sizes that were described."""
    parts = {
        "transformer": loaded.family.transformer,
        "image tokenizer": loaded.family.image_decoder,
    }
    for part, module in parts.items():
        assert isinstance(module, nn.Module)
        tensors = [*module.parameters(), *module.buffers()]
        assert all(tensor.device == CUDA for tensor in tensors)
        counted = sum(tensor.nbytes for tensor in tensors)
        assert counted == pytest.approx(loaded.description.weight_bytes[part], rel=0.02)
    cache = loaded.executor._cache
    stored = sum(tensor.nbytes for tensor in [*cache.keys, *cache.values])
    assert stored == pytest.approx(2 * loaded.description.slot_count * 512 * 1024, rel=0.02)
    assert loaded.description.card.kv_bytes_per_slot == 512 * 1024
