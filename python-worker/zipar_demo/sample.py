"""Draws pictures from the trained networks in next-token order: the plain way, against which others are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zipar_demo.encoder import Tokenizer
from zipar_demo.pixels import to_pictures
from zipar_demo.transformer import KvMemory, Transformer

_DECODER_BATCH = 16


@dataclass(frozen=True)
class SamplingSettings:
    """guidance_scale 1 is no guidance, top_k 0 keeps all tokens."""

    guidance_scale: float = 1.75
    temperature: float = 0.7
    top_k: int = 0


@torch.no_grad()
def sample_tokens(
    model: Transformer, classes: Sequence[int], settings: SamplingSettings, random: torch.Generator
) -> Tensor:
    """One picture per entry of `classes`: tokens [B, rows * columns]."""
    config, count = model.config, len(classes)
    # Both branches of guidance go through the model as one batch.
    branches = torch.cat([torch.tensor(classes), torch.full((count,), config.class_count)])
    memory = KvMemory(config, len(branches))
    hidden = model.embed_classes(branches)
    tokens: list[Tensor] = []
    for _ in range(config.rows * config.columns):
        conditional, unconditional = model.advance(hidden, memory)[:, -1].float().chunk(2)
        logits = unconditional + settings.guidance_scale * (conditional - unconditional)
        token = _draw(logits, settings, random)
        tokens.append(token)
        hidden = model.tok_embeddings(token.repeat(2)[:, None])
    return torch.stack(tokens, dim=1)


@torch.no_grad()
def decode_tokens(tokenizer: Tokenizer, tokens: Tensor, rows: int) -> Tensor:
    """tokens: [N, rows * columns] -> pictures: [N, H, W, 3] uint8."""
    grids = tokens.view(len(tokens), rows, -1)
    return torch.cat([to_pictures(tokenizer.decode(batch)) for batch in torch.split(grids, _DECODER_BATCH)])


def _draw(logits: Tensor, settings: SamplingSettings, random: torch.Generator) -> Tensor:
    """logits: [B, vocab_size] -> one token each: [B]."""
    logits = logits / settings.temperature
    if settings.top_k > 0:
        smallest = logits.topk(min(settings.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=random)[:, 0]
