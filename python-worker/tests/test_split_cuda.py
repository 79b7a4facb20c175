"""A share of a model of 34 billion parameters on a GPU that is not there: see `full_size.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executor_driver import DRAW, NONE, Feed, forward_request
from full_size import CUDA, empty_checkpoint, fake_gpu
from token_images import encode_request
from torch import Tensor

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.execute.linear import store_as_int8_
from zipar_worker.execute.ranks import Ranks
from zipar_worker.families.decoder import DecoderConfig
from zipar_worker.families.model import OpenedModel, Stored, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.wire.protocol import Grid, TextCard, WeightForm

SIDE = 64
PROMPT_SLOTS = 1024
CODE_COUNT = 131_072
GRIDS = (Grid(rows=SIDE, columns=SIDE, width=16 * SIDE, height=16 * SIDE),)
CARD_BYTES = 40e9
"""Of an A100 of the smaller kind, into which all of it does not go in bfloat16."""

EMU3_5 = DecoderConfig(
    dim=5120,
    layer_count=64,
    head_count=64,
    kv_head_count=8,
    head_dim=128,
    feed_forward_width=25600,
    norm_epsilon=1e-6,
    head_norm="rms",
)


class LonelyRanks(Ranks):
    """One of several, whose others are not there: numbers without content need none."""

    def sum_(self, part: Tensor) -> Tensor:
        return part.clone()

    def join(self, part: Tensor) -> Tensor:
        return torch.cat([part] * self.count, dim=-1)


def open_emu3_5() -> OpenedModel:
    with without_weights():
        transformer = TokenTransformer(EMU3_5, 282_926, 1e6, range(CODE_COUNT), CODE_COUNT)
    return OpenedModel(
        family="emu3-5",
        name="Emu3.5",
        grids=GRIDS,
        row_end="token",
        code_count=CODE_COUNT,
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=PROMPT_SLOTS),
        defaults=sampling_defaults(CODE_COUNT, GRIDS, guidance_scale=2.0, window=4),
        prompt_slots=PROMPT_SLOTS,
        prompts=TokenPrompts(lambda text, grid: [range(50), range(40)], PROMPT_SLOTS, 0, transformer.embed_text),
        transformer=Stored(transformer, empty_checkpoint(transformer, torch.bfloat16)),
        image_tokenizer=None,
    )


@pytest.mark.parametrize("weights", ["full", "int8"])
def test_half_of_34_billion_parameters_takes_the_memory_that_was_described(weights: WeightForm) -> None:
    with fake_gpu():
        whole = open_emu3_5()
        if weights == "int8":
            store_as_int8_(whole.transformer.module.decoder)
        whole_bytes = whole.describe(torch.bfloat16).weight_bytes["transformer"]
        opened = whole.split(LonelyRanks(0, 2))
        description = opened.describe(torch.bfloat16)
        family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda *_: None)
        executor = TorchExecutor()
        executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
        loaded = sum(parameter.nbytes for parameter in family.transformer.parameters())
        cache = executor._cache
        stored = sum(tensor.nbytes for tensor in [*cache.keys, *cache.values])
        assert loaded == description.weight_bytes["transformer"]
        assert stored == 2 * cache.stored_slot_count * description.card.kv_bytes_per_slot // 2
        # Embeddings and norms, which each rank has whole, are what is beyond the half.
        assert whole_bytes / 2 < loaded < 0.55 * whole_bytes
        assert loaded + stored < CARD_BYTES
        length = executor.encode_prompt(encode_request(SIDE, SIDE, "an otter")).prompt_length
        prefill = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
        feed = Feed(1, prefill, [(0, length)], [0.5], 2.0, 1.0, 2000, 1.0)
        outcome: Any = executor.forward(forward_request(executor, [feed]))
        assert outcome.shape == (2 * 3,)
