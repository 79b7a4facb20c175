"""Lumina-mGPT 2.0 at its full size on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from full_size import Wavefront, check_an_image, empty_checkpoint, fake_gpu, load

from zipar_testing.tiny.lumina_mgpt_2 import write_tokenizer
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS
from zipar_worker.families.lumina_mgpt_2.facts import model_of
from zipar_worker.families.lumina_mgpt_2.files import KEYS, OFFICIAL, Files
from zipar_worker.families.lumina_mgpt_2.vocabulary import read_tokenizer
from zipar_worker.families.lumina_mgpt_2.vq import ImageTokenizer
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.families.vq.movqgan import MoVQConfig, MoVQDecoder, SpatialDecoder

SIDE = 96


def test_a_prefill_a_step_of_four_queries_and_a_decoding_wait_for_nothing_in_the_memory_that_was_described(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path)
    tokenizer = read_tokenizer(tmp_path, OFFICIAL.vocab_size)
    with fake_gpu():
        with without_weights():
            decoder_config = replace(OFFICIAL.decoder, head_norm="layer")
            vocabulary_size = OFFICIAL.vocab_size
            transformer = TokenTransformer(decoder_config, vocabulary_size, 1e4, range(vocabulary_size), 0)
            decoder = MoVQDecoder(MoVQConfig(), SpatialDecoder(MoVQConfig()))
        checkpoint = empty_checkpoint(transformer, torch.bfloat16, KEYS)
        # The norms of queries and keys are stored for groups of heads.
        stored = {key: tensor[:4] if "_norm." in key else tensor for key, tensor in checkpoint.tensors.items()}
        files = Files(
            name="Lumina-mGPT-2.0",
            checkpoint=replace(checkpoint, tensors=stored),
            config_path=Path("config.json"),
            config=OFFICIAL,
            has_output_norms=False,
            target=8 * SIDE,
            tokenizer=tokenizer,
            image_tokenizer=ImageTokenizer(empty_checkpoint(decoder, torch.float32), MoVQConfig()),
        )
        model = load(model_of(files), kv_bytes_per_slot=512 * 1024)
        card = model.description.card
        assert (card.code_count, card.defaults.top_k) == (16384, 4096)
        # An image of 384 x 1536 pixels has most row ends: 192.
        assert model.description.slot_count == MAXIMAL_PROMPT_TOKENS + SIDE * SIDE + 192
        wavefront = Wavefront(row_count=4, lag=24, column=SIDE, row_end=16384)
        check_an_image(model, SIDE, wavefront, (4.0, 1.0, 4096, 1.0), pixels=8 * SIDE)
