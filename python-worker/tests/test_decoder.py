"""The decoder over the slot cache equals the causal forward of transformers' own classes, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    ChameleonConfig,
    Emu3TextConfig,
    GemmaConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.chameleon.modeling_chameleon import ChameleonModel
from transformers.models.emu3.modeling_emu3 import Emu3TextModel
from transformers.models.gemma.modeling_gemma import GemmaModel
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model

from zipar_worker.checkpoints.key_map import KeyMap, Rules
from zipar_worker.checkpoints.weights import Checkpoint, load_module_, without_weights
from zipar_worker.execute.attention import Attention, ProfileAttention, StepAttention
from zipar_worker.execute.kv_cache import KvCache
from zipar_worker.execute.linear import pack_linears_
from zipar_worker.execute.profile import AttentionBlock
from zipar_worker.execute.visibility import visible_slots
from zipar_worker.families.decoder import LLAMA_KEYS, Decoder, DecoderConfig, Rotary, repeat_head_norms
from zipar_worker.families.transformer import TokenTransformer

SIZES: dict[str, Any] = {
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
LLAMA = DecoderConfig(
    dim=32, layer_count=2, head_count=4, kv_head_count=2, head_dim=8, feed_forward_width=48, norm_epsilon=1e-6
)
ELSEWHERE = r"(?:first|second)?\.?embed_tokens\.|vqmodel\."


@dataclass(frozen=True)
class Case:
    model: Callable[[Any], nn.Module]
    theirs: PretrainedConfig
    ours: DecoderConfig
    rotary_base: float = 10000.0
    keys: Rules = LLAMA_KEYS


CASES = {
    "Llama": Case(LlamaModel, LlamaConfig(**SIZES), LLAMA),
    "Emu3": Case(Emu3TextModel, Emu3TextConfig(**SIZES), replace(LLAMA, norm_epsilon=1e-5), 1e6),
    "Chameleon, each head's norm its own": Case(
        ChameleonModel,
        ChameleonConfig(**SIZES, vocabulary_map={}),
        replace(LLAMA, norm_epsilon=1e-5, head_norm="layer"),
    ),
    "Chameleon-34B, norms behind attention and MLP": Case(
        ChameleonModel,
        ChameleonConfig(**SIZES, vocabulary_map={}, swin_norm=True),
        replace(LLAMA, norm_epsilon=1e-5, head_norm="layer", has_output_norms=True),
    ),
    "Qwen2, biases": Case(Qwen2Model, Qwen2Config(**SIZES), replace(LLAMA, has_qkv_bias=True)),
    "Qwen3, heads wider than their share": Case(
        Qwen3Model, Qwen3Config(**SIZES, head_dim=16), replace(LLAMA, head_norm="rms", head_dim=16)
    ),
    "Gemma, GELU gate and norms that add to 1": Case(
        GemmaModel,
        GemmaConfig(**SIZES, head_dim=16),
        replace(LLAMA, gate="gelu-tanh", norms_add_one=True, head_dim=16),
    ),
}


class Stacked(nn.Module):
    """Two models, of which the second reads what the first has made, as in STAR."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.first, self.second = Qwen2Model(config), Qwen2Model(config)

    def forward(self, inputs_embeds: Tensor, **options: Any) -> Any:
        return self.second(
            inputs_embeds=self.first(inputs_embeds=inputs_embeds, **options).last_hidden_state, **options
        )


CASES["STAR, two stacks"] = Case(
    Stacked,
    Qwen2Config(**SIZES),
    replace(LLAMA, layer_count=4, has_qkv_bias=True, inner_layer_count=2),
    keys=(
        (r"^(layers\.[01]\.)", r"first.\1"),
        (r"^layers\.2\.", "second.layers.0."),
        (r"^layers\.3\.", "second.layers.1."),
        (r"^inner_norm\.", "first.norm."),
        (r"^norm\.", "second.norm."),
        *LLAMA_KEYS,
    ),
)


def random_model(case: Case, dtype: torch.dtype) -> nn.Module:
    """With weights that leave nothing at 0 or 1, where norms and biases start."""
    torch.manual_seed(3)
    model = case.model(case.theirs).eval().to(dtype)
    for name, parameter in model.named_parameters():
        spread = 0.2 if parameter.dim() == 1 or "_norm." in name else parameter.shape[-1] ** -0.5
        is_factor = "norm" in name and name.endswith("weight") and not case.ours.norms_add_one
        parameter.data = spread * torch.randn(parameter.shape, dtype=dtype) + is_factor
    return model


def decoder_of(case: Case, plain: nn.Module, dtype: torch.dtype) -> Decoder:
    """Ours, through the loader, from a file with the keys of the model."""
    with without_weights():
        ours = Decoder(case.ours)
    load_module_(
        ours,
        Checkpoint(Path("model"), plain.state_dict()),
        dtype=dtype,
        device=torch.device("cpu"),
        report=lambda completed, total: None,
        keys=KeyMap(case.keys, ELSEWHERE),
        adapt=repeat_head_norms,
    )
    return ours


def run(case: Case, ours: Decoder, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
    rotate = Rotary(case.ours.head_dim, case.rotary_base)(positions, embeddings.dtype)
    hidden: Tensor = ours(embeddings, rotate, attention)
    return hidden


def run_in_steps(case: Case, ours: Decoder, embeddings: Tensor) -> Tensor:
    """Slots are fed in three steps; each sees those before it."""
    cache = KvCache(case.ours.kv_shape, 2, LENGTH, embeddings.dtype, torch.device("cpu"))
    parts = []
    for first, end in ((0, 5), (5, 6), (6, 12)):
        slots = torch.arange(first, end).expand(2, -1)
        runs = torch.tensor([[[0, end]]] * 2)
        steps = torch.full_like(slots, first)
        step = cache.open_step_((0, 1), torch.tensor([0, 1]), slots, steps, end)
        paddings = torch.zeros(2, dtype=torch.int64)
        mask = visible_slots(slots, paddings, runs, steps, step.slot_steps(), trash_slot=LENGTH)
        parts.append(run(case, ours, embeddings[:, first:end], slots, StepAttention(step, mask, case.ours.head_count)))
    return torch.cat(parts, dim=1)


def expected_hidden(plain: nn.Module, embeddings: Tensor) -> Tensor:
    hidden: Tensor = plain(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    return hidden


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", ["plain", "transposed", "packed"])
@torch.inference_mode()
def test_steps_over_slots_equal_one_causal_forward_of_the_library(
    name: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "packed":
        monkeypatch.setattr("zipar_worker.execute.linear._LEAST_PACKED", 0)
    case = CASES[name]
    plain = random_model(case, torch.float32)
    ours = decoder_of(case, plain, torch.float32)
    if layout != "plain":
        pack_linears_(ours)
    embeddings = torch.randn(2, LENGTH, 32)
    expected = expected_hidden(plain, embeddings)
    torch.testing.assert_close(run_in_steps(case, ours, embeddings), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_in_bfloat16_we_are_as_near_to_float32_as_the_library_is(name: str) -> None:
    case = CASES[name]
    plain = random_model(case, torch.bfloat16)
    embeddings = torch.randn(2, LENGTH, 32, dtype=torch.bfloat16)
    theirs = expected_hidden(plain, embeddings).float()
    ours = run_in_steps(case, decoder_of(case, plain, torch.bfloat16), embeddings).float()
    exact = run_in_steps(case, decoder_of(case, plain, torch.float32), embeddings.float())
    # Matrices that are merged add up in another order; hidden states are up to 5, a unit in their last place is 2^-5.
    torch.testing.assert_close(ours, theirs, atol=2**-4, rtol=0)
    assert (ours - exact).abs().mean() < 1.2 * (theirs - exact).abs().mean()


@torch.inference_mode()
def test_interleaved_heads_are_turned_as_complex_numbers() -> None:
    heads, positions = torch.randn(2, 5, 3, 8), torch.tensor([[0, 1, 2, 7, 30], [4, 5, 6, 7, 8]])
    frequencies = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    turns = torch.polar(torch.ones(2, 5, 1, 4), positions[:, :, None, None] * frequencies)
    expected = torch.view_as_real(torch.view_as_complex(heads.unflatten(-1, (4, 2))) * turns).flatten(-2)
    rotate = Rotary(8, 1e4, is_interleaved=True)(positions, torch.float32)
    torch.testing.assert_close(rotate(heads), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_embeddings_are_scaled_to_the_bit_as_gemma_scales_them(dtype: torch.dtype) -> None:
    case = next(case for name, case in CASES.items() if "Gemma" in name)
    plain: Any = random_model(case, dtype)
    ours = TokenTransformer(case.ours, 40, 1e4, range(8), embedding_scale=32**0.5).to(dtype)
    ours.embedding.weight.copy_(plain.embed_tokens.weight)
    ids = torch.arange(40)[None]
    assert torch.equal(ours.embed_text(ids), plain.embed_tokens(ids))


@torch.inference_mode()
def test_a_profile_shows_all_layers_and_leaves_the_hidden_states_alone() -> None:
    case = CASES["Llama"]
    plain = random_model(case, torch.float32)
    embeddings = torch.randn(1, LENGTH, 32)
    blocks: list[AttentionBlock] = []
    positions = torch.arange(LENGTH)[None]
    ours = decoder_of(case, plain, torch.float32)
    hidden = run(case, ours, embeddings, positions, ProfileAttention(0, blocks.append))
    torch.testing.assert_close(hidden, expected_hidden(plain, embeddings), atol=1e-5, rtol=1e-5)
    assert {block.layer for block in blocks} == {0, 1}
    assert all(block.weights.shape[0] == 4 for block in blocks)
