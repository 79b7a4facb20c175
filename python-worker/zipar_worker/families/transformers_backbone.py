"""Runs a decoder of the `transformers` library over the slot-addressed cache.

Its layers project, rotate and mix as they always do; only the attention is ours (`attention.py`), registered under a
name that the model's configuration selects. The library's own cache is left out: what it would hold is in the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig

from zipar_worker.execute.attention import Attention

_NAME = "zipar_slots"


DecoderClass: TypeAlias = Callable[[Any], nn.Module]
"""A transformers model class whose instances are the stack of decoder layers with the final norm."""


def build_backbone(decoder_class: DecoderClass, config: PretrainedConfig) -> nn.Module:
    """The decoder with our attention; within `without_weights` its parameters have no storage yet."""
    config._attn_implementation = _NAME
    decoder = decoder_class(config).eval()
    # Computed, not loaded: real even where the parameters are on the meta device.
    rotary_class = cast(type[nn.Module], type(decoder.rotary_emb))
    with torch.device("cpu"):
        decoder.rotary_emb = rotary_class(config=config)
    return decoder


def run_backbone(decoder: nn.Module, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
    """All layers and the final norm. embeddings: [B, Q, dim], positions: int64 [B, Q] -> [B, Q, dim]"""
    output = decoder(
        inputs_embeds=embeddings,
        position_ids=positions,
        # Four dimensions are passed on as they are; without a mask the library would build one.
        attention_mask=torch.empty(1, 1, 1, 1, dtype=torch.bool, device=embeddings.device),
        use_cache=False,
        zipar_attention=attention,
    )
    return cast(Tensor, output.last_hidden_state)


def _attend(
    module: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, _mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The library's attention function: [B, heads, Q, D] in, [B, Q, heads, D] out."""
    attention: Attention = kwargs["zipar_attention"]
    layer = cast(int, module.layer_idx)
    attended = attention(layer, queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2))
    return attended, None


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """The mask of a step is the attention's own."""
    return None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _no_mask)
