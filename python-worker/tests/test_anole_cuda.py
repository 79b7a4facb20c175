"""Anole 7B at its full size, in Meta's layout, on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from executor_driver import DRAW, NONE, Feed
from full_size import CUDA, empty_checkpoint, fake_gpu, load
from msgspec import structs

from zipar_testing.tiny.anole import meta_name
from zipar_testing.tiny.lumina_mgpt import token_names, write_tokenizer
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.anole.facts import MAXIMAL_PROMPT_TOKENS, model_of
from zipar_worker.families.anole.files import HF_DEFAULTS, Files
from zipar_worker.families.anole.meta import meta_keys
from zipar_worker.families.anole.prompt import AnoleTokenizer
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS, TokenTransformer
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_files import ImageTokenizer
from zipar_worker.wire.protocol import EncodePrompt, TextConditioning

OFFICIAL = structs.replace(HF_DEFAULTS, num_key_value_heads=32)
SIDE = 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> AnoleTokenizer:
    """With the official ids of every token that is no text."""
    path = tmp_path_factory.mktemp("anole") / "text_tokenizer.json"
    write_tokenizer(path, token_names(8192, range(8194, 8865)))
    return AnoleTokenizer(path)


def test_the_ids_are_the_official_ones(tokenizer: AnoleTokenizer) -> None:
    assert tokenizer.codes == tuple(range(4, 8196))
    assert (tokenizer.unconditional(), tokenizer.conditional("")) == ([0, 8197], [0, 8710, 8197])


def test_a_prefill_a_step_of_four_queries_and_a_decoding_wait_for_nothing_in_the_memory_that_was_described(
    tokenizer: AnoleTokenizer,
) -> None:
    with fake_gpu():
        with without_weights():
            shape = replace(OFFICIAL.decoder, head_norm="layer")
            transformer = TokenTransformer(shape, OFFICIAL.vocab_size, 1e4, range(OFFICIAL.vocab_size))
            decoder = ChameleonVQDecoder(ChameleonVQConfig())
        checkpoint = empty_checkpoint(transformer, torch.bfloat16, KeyMap(LLAMA_MODEL_KEYS)).renamed(meta_name)
        tensors = checkpoint.tensors
        # Norms of queries and keys are stored once for all heads.
        checkpoint = replace(
            checkpoint, tensors={key: tensors[key][0] if "_normalization" in key else tensors[key] for key in tensors}
        )
        files = Files(
            name="Anole-7b-v0.1",
            checkpoint=checkpoint,
            keys=meta_keys(checkpoint),
            config_path=Path("params.json"),
            config=OFFICIAL,
            has_head_norms=True,
            has_output_norms=False,
            has_interleaved_heads=True,
            tokenizer=tokenizer,
            image_tokenizer=ImageTokenizer(empty_checkpoint(decoder, torch.float32), ChameleonVQConfig()),
        )
        model = load(model_of(files), kv_bytes_per_slot=512 * 1024)
        card = model.description.card
        assert (card.code_count, card.grids[0].rows, card.grids[0].width) == (8192, SIDE, 512)
        assert (card.defaults.top_k, card.defaults.window) == (0, 8)
        assert model.description.slot_count == MAXIMAL_PROMPT_TOKENS + 1024
        encoded = model.executor.encode_prompt(
            EncodePrompt(
                epoch=0,
                request=0,
                frames=(),
                sequence=1,
                cache_rows=(0, 1),
                rows=SIDE,
                columns=SIDE,
                conditioning=TextConditioning(prompt="an otter in the rain", negative_prompt=None),
            )
        )
        length = encoded.prompt_length
        prefill = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
        # One flag, token and probability as float64, sent as pairs of float32.
        assert model.run(Feed(1, prefill, [(0, length)], [0.5], 3.0, 0.7, 0, 0.9)).shape == (2 * 3,)
        # Four rows are under way, each eight tokens behind the one above.
        slots = [length + row * SIDE + 30 - 8 * row for row in range(4)]
        runs = [(0, slots[0] + 1), *((length + row * SIDE, slot + 1) for row, slot in enumerate(slots) if row)]
        queries = [(5, slot, DRAW) for slot in slots]
        assert model.run(Feed(1, queries, runs, [0.5] * 4, 3.0, 0.7, 0, 0.9)).shape == (2 * 3 * 4,)
        pixels = model.family.decode_image(torch.zeros((SIDE, SIDE), dtype=torch.int64, device=CUDA))
        assert (pixels.shape, pixels.device, pixels.dtype) == ((512, 512, 3), CUDA, torch.float32)
