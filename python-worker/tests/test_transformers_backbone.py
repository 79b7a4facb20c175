"""A decoder of the transformers library over the slot cache equals its own causal forward."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import Emu3TextConfig, LlamaConfig, PretrainedConfig
from transformers.models.emu3.modeling_emu3 import Emu3TextModel
from transformers.models.llama.modeling_llama import LlamaModel

from zipar_worker.execute.attention import ProfileAttention, StepAttention
from zipar_worker.execute.kv_cache import KvCache, KvShape
from zipar_worker.execute.profile import AttentionBlock
from zipar_worker.execute.visibility import visible_slots
from zipar_worker.families.transformers_backbone import DecoderClass, build_backbone, run_backbone

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
LENGTH = 12


def both(decoder_class: DecoderClass, config: PretrainedConfig) -> tuple[nn.Module, nn.Module]:
    """The library's own model, and ours with the same weights."""
    torch.manual_seed(3)
    plain = decoder_class(config).eval()
    ours = build_backbone(decoder_class, type(config)(**SIZES))
    ours.load_state_dict(plain.state_dict())
    return plain, ours


@pytest.mark.parametrize(
    ("decoder_class", "config"), [(LlamaModel, LlamaConfig(**SIZES)), (Emu3TextModel, Emu3TextConfig(**SIZES))]
)
@torch.inference_mode()
def test_slots_fed_in_several_steps_give_the_hidden_states_of_one_causal_pass(
    decoder_class: DecoderClass, config: PretrainedConfig
) -> None:
    plain, ours = both(decoder_class, config)
    embeddings = torch.randn(2, LENGTH, 32)
    expected = plain(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    cache = KvCache(KvShape(2, 2, 8), 2, LENGTH, torch.float32, torch.device("cpu"))
    parts = []
    for first, end in ((0, 5), (5, 6), (6, 12)):
        slots = torch.arange(first, end).expand(2, -1)
        runs = torch.tensor([[[0, end]]] * 2)
        mask = visible_slots(slots, torch.zeros(2, dtype=torch.int64), runs, None, key_count=end, trash_slot=LENGTH)
        step = cache.open_step((0, 1), torch.tensor([0, 1]), slots, end)
        parts.append(run_backbone(ours, embeddings[:, first:end], slots, StepAttention(step, mask)))
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_profile_shows_all_layers_and_leaves_the_hidden_states_alone() -> None:
    plain, ours = both(LlamaModel, LlamaConfig(**SIZES))
    embeddings = torch.randn(1, LENGTH, 32)
    blocks: list[AttentionBlock] = []
    hidden = run_backbone(ours, embeddings, torch.arange(LENGTH)[None], ProfileAttention(0, blocks.append))
    expected = plain(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    assert {block.layer for block in blocks} == {0, 1}
    assert all(block.weights.shape[0] == 4 for block in blocks)
