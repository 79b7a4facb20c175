"""Random tensors of a transformer in the layout of transformers' Llama whose head is the embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.decoder import DecoderConfig
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS, TokenTransformer

# So that choices are clear, and each token matters as much as what the layers add.
_LOGIT_SPREAD = 2.0


def random_tied_transformer(
    decoder: DecoderConfig, vocabulary_size: int, rotary_base: float, generator: torch.Generator, *, layer_spread: float
) -> dict[str, Tensor]:
    """layer_spread: times which what the layers add is larger than it would be by itself."""
    with without_weights():
        transformer = TokenTransformer(decoder, vocabulary_size, rotary_base, range(vocabulary_size))
    state = random_state(transformer, generator, KeyMap(LLAMA_MODEL_KEYS))
    del state["lm_head.weight"]
    state["model.embed_tokens.weight"] *= _LOGIT_SPREAD
    for name, tensor in state.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            state[name] = tensor * layer_spread
    return state
