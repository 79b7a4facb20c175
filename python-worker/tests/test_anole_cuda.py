"""Anole 7B at its full size, in Meta's layout, on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_size import Wavefront, check_an_image, empty_checkpoint, fake_gpu, load
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
        check_an_image(model, SIDE, Wavefront(row_count=4, lag=8, column=30), (3.0, 0.7, 0, 0.9), pixels=512)
