"""Models of an architecture with random weights, served by the worker's own executor."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from zipar_testing.gpu_check.architectures import Architecture
from zipar_testing.tiny.random_weights import random_state, random_tensor
from zipar_worker.checkpoints.weights import Checkpoint, without_weights
from zipar_worker.execute.dtypes import DTYPES
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.execute.linear import pack_linears_
from zipar_worker.families.janus.transformer import JanusTransformer
from zipar_worker.families.llamagen.prompt import CaptionPrompts, ClassPrompts
from zipar_worker.families.llamagen.text_encoder import Caption, OpenedTextEncoder
from zipar_worker.families.llamagen.transformer import CaptionEmbedding, ClassEmbedding, LlamaGenTransformer
from zipar_worker.families.model import LoadedModel, OpenedModel, Stored, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import PromptEncoder, TokenPrompts
from zipar_worker.families.star.transformer import StarTransformer
from zipar_worker.families.transformer import TokenTransformer, Transformer
from zipar_worker.wire.protocol import (
    ClassCard,
    ClassConditioning,
    Grid,
    ModelCard,
    TextCard,
    TextConditioning,
    TypeName,
)

# Of single tensors, so that each token matters as much as what the layers add, and choices are clear.
_SPREADS = {"lm_head.weight": 2.0, "gen_head.vision_head.weight": 3.0}


@dataclass(frozen=True, slots=True)
class Served:
    """A model in an executor. conditioning: of the sequence with a number."""

    executor: TorchExecutor
    card: ModelCard

    def conditioning(self, number: int) -> ClassConditioning | TextConditioning:
        if isinstance(self.card.conditioning, ClassCard):
            return ClassConditioning(class_index=number % self.card.conditioning.class_count)
        return TextConditioning(prompt=f"prompt {number}", negative_prompt=None)


@dataclass(frozen=True, slots=True)
class RandomTensors:
    """What the files of a checkpoint would hold, in float32 on the CPU."""

    transformer: Mapping[str, Tensor]
    image_decoder: Mapping[str, Tensor]


NO_TENSORS = RandomTensors({}, {})


def random_tensors(architecture: Architecture, seed: int) -> RandomTensors:
    generator = torch.Generator().manual_seed(seed)
    with without_weights():
        transformer, decoder = architecture.transformer(), architecture.image_decoder()
    state = random_state(transformer, generator, architecture.keys)
    for name, tensor in state.items():
        if name.endswith("embed_tokens.weight"):
            tensor.mul_(tensor.shape[1] ** 0.5)
        tensor.mul_(_SPREADS.get(name, 1.0))
    return RandomTensors(state, random_state(decoder, generator))


def open_random(architecture: Architecture, tensors: RandomTensors = NO_TENSORS) -> OpenedModel:
    """Without tensors it can be described and filled, but not loaded."""
    with without_weights():
        transformer, decoder = architecture.transformer(), architecture.image_decoder()
    pixels = decoder.pixels_per_token
    rows, columns = architecture.rows, architecture.columns
    grids = (pixel_grid(rows, columns, pixels),)
    return OpenedModel(
        family="random",
        name=architecture.name,
        grids=grids,
        row_end=architecture.row_end,
        code_count=architecture.code_count,
        conditioning=_conditioning_card(architecture, transformer),
        defaults=sampling_defaults(
            architecture.code_count,
            grids,
            guidance_scale=architecture.guidance_scale,
            top_k=architecture.top_k,
            window=columns,
        ),
        prompt_slots=architecture.prompt_slots,
        prompts=_prompts(architecture, transformer),
        transformer=Stored(transformer, Checkpoint(Path("random"), dict(tensors.transformer)), architecture.keys),
        image_tokenizer=Stored(decoder, Checkpoint(Path("random"), dict(tensors.image_decoder))),
    )


def serve_loaded(opened: OpenedModel, dtype: TypeName, device: torch.device, cache_row_count: int) -> Served:
    """Loads through the worker's own way from a file to a device."""
    model = opened.load(dtype=DTYPES[dtype], device=device, report=lambda phase, completed, total, unit: None)
    return _adopted(opened, model, dtype, device, cache_row_count)


def serve_filled(opened: OpenedModel, dtype: TypeName, device: torch.device, cache_row_count: int) -> Served:
    """Makes the weights on the device, where a full size would take minutes to make elsewhere."""
    generator = torch.Generator(device).manual_seed(1)
    assert opened.image_tokenizer is not None
    transformer, decoder = opened.transformer.module, opened.image_tokenizer.module
    fill_(transformer, generator, DTYPES[dtype])
    fill_(decoder, generator, torch.float32)
    pack_linears_(transformer)
    model = LoadedModel(opened.describe(DTYPES[dtype]).card, transformer.eval(), opened.prompts, decoder.eval())
    return _adopted(opened, model, dtype, device, cache_row_count)


def fill_(module: nn.Module, generator: torch.Generator, dtype: torch.dtype) -> None:
    """Random parameters on the generator's device, and the buffers, which are real, moved there."""
    for prefix, part in list(module.named_modules()):
        for name, parameter in list(part.named_parameters(recurse=False)):
            tensor = random_tensor(f"{prefix}.{name}", tuple(parameter.shape), generator, dtype)
            setattr(part, name, nn.Parameter(tensor, requires_grad=False))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, buffer.to(generator.device))


def _adopted(
    opened: OpenedModel, model: LoadedModel, dtype: TypeName, device: torch.device, cache_row_count: int
) -> Served:
    executor = TorchExecutor()
    with torch.inference_mode():
        executor.adopt(model, opened.describe(DTYPES[dtype]), DTYPES[dtype], device, cache_row_count)
    return Served(executor, model.card)


def _conditioning_card(architecture: Architecture, transformer: Transformer) -> ClassCard | TextCard:
    embedding = transformer.cls_embedding if isinstance(transformer, LlamaGenTransformer) else None
    if isinstance(embedding, ClassEmbedding):
        return ClassCard(class_count=embedding.embedding_table.num_embeddings - 1, class_names=None)
    return TextCard(negative_prompt=None, max_prompt_tokens=architecture.prompt_slots)


def _prompts(architecture: Architecture, transformer: Transformer) -> PromptEncoder:
    if isinstance(transformer, LlamaGenTransformer):
        embedding = transformer.cls_embedding
        if isinstance(embedding, ClassEmbedding):
            return ClassPrompts(embedding)
        return CaptionPrompts(embedding, cast(OpenedTextEncoder, _RandomCaptions(embedding)))
    assert isinstance(transformer, TokenTransformer | JanusTransformer | StarTransformer)
    text_tokens = transformer.embedding.num_embeddings

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        chance = random.Random(text.prompt)
        return [[chance.randrange(text_tokens) for _ in range(count)] for count in architecture.prompt_tokens]

    return TokenPrompts(branch_ids, architecture.prompt_slots, 0, transformer.embed_text)


class _RandomCaptions:
    """Stands for the text encoder, which is transformers' own and is not checked here."""

    def __init__(self, embedding: CaptionEmbedding) -> None:
        self._embedding = embedding

    def weight_bytes(self, dtype: torch.dtype) -> int:
        return 0

    def load(self, *_: object, **__: object) -> _RandomCaptions:
        return self

    def encode(self, prompt: str) -> Caption:
        length, feature_dim = self._embedding.uncond_embedding.shape
        padding = length // 3
        features = torch.randn(
            (length, feature_dim), generator=torch.Generator().manual_seed(sum(prompt.encode())), device="cpu"
        )
        features[:padding] = 0
        return Caption(features.to(self._embedding.uncond_embedding.device), padding, ())
