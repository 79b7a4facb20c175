"""Liquid 7B at its full size on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from full_size import Wavefront, check_an_image, empty_checkpoint, fake_gpu, load
from msgspec import structs

from zipar_testing.tiny.liquid import tiny_tokenizer
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.liquid.facts import MAXIMAL_PROMPT_TOKENS, model_of
from zipar_worker.families.liquid.files import DEFAULTS, KEYS, Files
from zipar_worker.families.liquid.prompt import LiquidTokenizer
from zipar_worker.families.llama_config import with_tied_head
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_files import ImageTokenizer

OFFICIAL = structs.replace(DEFAULTS, vocab_size=264192)
SIDE = 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LiquidTokenizer:
    """With as many tokens as Gemma's."""
    path = tmp_path_factory.mktemp("liquid") / "tokenizer.json"
    content = json.loads(tiny_tokenizer().to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary |= {f"word{token}": token for token in range(len(vocabulary), 256000)}
    path.write_text(json.dumps(content))
    return LiquidTokenizer(path)


def test_a_prefill_a_step_of_four_queries_and_a_decoding_wait_for_nothing_in_the_memory_that_was_described(
    tokenizer: LiquidTokenizer,
) -> None:
    with fake_gpu():
        with without_weights():
            transformer = TokenTransformer(OFFICIAL.decoder, OFFICIAL.vocab_size, 1e4, range(OFFICIAL.vocab_size))
            decoder = ChameleonVQDecoder(ChameleonVQConfig())
        checkpoint = empty_checkpoint(transformer, torch.bfloat16, KEYS)
        checkpoint = checkpoint.renamed(lambda name: None if name == "lm_head.weight" else name)
        checkpoint = with_tied_head(Path("config.json"), checkpoint, KEYS, is_tied=True)
        vq = ImageTokenizer(empty_checkpoint(decoder, torch.float32), ChameleonVQConfig())
        files = Files("Liquid_V1_7B", checkpoint, Path("config.json"), OFFICIAL, tokenizer, vq)
        model = load(model_of(files), kv_bytes_per_slot=2 * 28 * 16 * 256 * 2)
        card = model.description.card
        assert (card.code_count, card.grids[0].rows, card.grids[0].width) == (8192, SIDE, 512)
        assert (card.defaults.top_k, card.defaults.window) == (4096, 8)
        assert model.description.slot_count == MAXIMAL_PROMPT_TOKENS + 1024
        check_an_image(model, SIDE, Wavefront(row_count=4, lag=8, column=30), (7.0, 0.99, 4096, 0.96), pixels=512)
