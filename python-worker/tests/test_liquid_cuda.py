"""Liquid 7B at its full size on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from executor_driver import DRAW, NONE, Feed
from full_size import CUDA, empty_checkpoint, fake_gpu, load
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
from zipar_worker.wire.protocol import EncodePrompt, TextConditioning

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
        assert model.run(Feed(1, prefill, [(0, length)], [0.5], 7.0, 0.99, 4096, 0.96)).shape == (2 * 3,)
        # Four rows are under way, each eight tokens behind the one above.
        slots = [length + row * SIDE + 30 - 8 * row for row in range(4)]
        runs = [(0, slots[0] + 1), *((length + row * SIDE, slot + 1) for row, slot in enumerate(slots) if row)]
        queries = [(5, slot, DRAW) for slot in slots]
        assert model.run(Feed(1, queries, runs, [0.5] * 4, 7.0, 0.99, 4096, 0.96)).shape == (2 * 3 * 4,)
        pixels = model.family.decode_image(torch.zeros((SIDE, SIDE), dtype=torch.int64, device=CUDA))
        assert (pixels.shape, pixels.device, pixels.dtype) == ((512, 512, 3), CUDA, torch.float32)
