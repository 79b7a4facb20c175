"""A Janus checkpoint whose files were found: described from shapes, then loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaConfig

from zipar_worker.checkpoints.checkpoint import (
    Checkpoint,
    load_module_,
    open_checkpoint,
    parameter_count,
    without_weights,
)
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.families.family import Description, OpenOptions
from zipar_worker.families.image_decoder import load_image_decoder_
from zipar_worker.families.janus import BRANCHES, CONFIG_NAME, NAME, Janus
from zipar_worker.families.janus.layouts import read_layout, translate
from zipar_worker.families.janus.model import JanusConfig, JanusTransformer
from zipar_worker.families.janus.prompt import TOKENIZER_NAME, JanusTokenizer
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder, config_of_tensors
from zipar_worker.wire.protocol import Grid, ImageDecoderCard, ModelCard, SamplingDefaults, TextCard

OFFICIAL_NAMES = {(2048, 24): "Janus-Pro-1B", (4096, 30): "Janus-Pro-7B"}
"""By width and layers, for a directory whose own name says nothing."""

MAX_PROMPT_TOKENS = 512
"""Ours: the official code has no limit, but every token of it costs K/V in every branch of every image."""

_OFFICIAL_GUIDANCE_SCALE = 5.0
# No published window is known for Janus. LlamaGen's at the same grid, 24 x 24, over the same image tokenizer is 8.
_DEFAULT_WINDOW = 8


@dataclass(frozen=True, slots=True)
class OpenedJanus:
    """See `OpenedCheckpoint`."""

    name: str
    config: JanusConfig
    side: int
    """Rows and columns of the token grid."""
    transformer: Checkpoint
    image_tokenizer: Checkpoint
    decoder: LlamaGenVQConfig
    tokenizer: JanusTokenizer

    def describe(self, dtype: torch.dtype) -> Description:
        kv_shape = self.config.kv_shape
        transformer, decoder = self._modules()
        transformer_parameters = parameter_count(transformer)
        size = self.side * self.decoder.pixels_per_token
        card = ModelCard(
            family=NAME,
            name=self.name,
            parameter_count=transformer_parameters,
            code_count=self.config.code_count,
            row_end="none",
            grids=(Grid(rows=self.side, columns=self.side, width=size, height=size),),
            conditioning=TextCard(negative_prompt=None, max_prompt_tokens=self._longest_prompt()),
            branches=BRANCHES,
            defaults=SamplingDefaults(
                guidance_scale=_OFFICIAL_GUIDANCE_SCALE,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                window=min(_DEFAULT_WINDOW, self.side),
            ),
            image_decoder=ImageDecoderCard(pixels_per_token=self.decoder.pixels_per_token),
            kv_bytes_per_slot=kv_shape.bytes_per_slot(dtype),
        )
        return Description(
            card=card,
            kv_shape=kv_shape,
            head_count=self.config.language.num_attention_heads,
            slot_count=self._longest_prompt() + self.side * self.side,
            weight_bytes={
                "transformer": transformer_parameters * dtype.itemsize,
                "image tokenizer": sum(parameter.nbytes for parameter in decoder.parameters()),
            },
        )

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> Janus:
        transformer, decoder = self._modules()
        load_module_(
            transformer,
            self.transformer,
            dtype=dtype,
            device=device,
            report=lambda completed, total: report("load the transformer", completed, total, "bytes"),
        )
        load_image_decoder_(decoder, self.image_tokenizer, device=device, report=report)
        return Janus(
            self.describe(dtype).card, self._longest_prompt(), self.tokenizer, transformer.eval(), decoder.eval()
        )

    def _longest_prompt(self) -> int:
        return min(MAX_PROMPT_TOKENS, self.config.language.max_position_embeddings - self.side * self.side)

    def _modules(self) -> tuple[JanusTransformer, LlamaGenVQDecoder]:
        with without_weights():
            return JanusTransformer(self.config), LlamaGenVQDecoder(self.decoder)


def open_janus(directory: Path, options: OpenOptions) -> OpenedJanus:
    """Reads the configuration and the shapes of the tensors. Raises `checkpoint`."""
    if options.vq_path is not None:
        raise WorkerError(
            "checkpoint",
            f"{directory} holds its own image tokenizer, received another one: {options.vq_path}. Leave it out.",
        )
    layout = read_layout(directory / CONFIG_NAME)
    stored = open_checkpoint(directory)
    image_tokenizer = stored.renamed(partial(translate, layout.image_tokenizer))
    decoder = config_of_tensors(image_tokenizer)
    expected = (layout.config.code_count, layout.config.code_dim, layout.patch_size)
    if (decoder.codebook_size, decoder.embedding_dim, decoder.pixels_per_token) != expected:
        raise WorkerError(
            "checkpoint",
            f"{directory}: the image tokenizer has {decoder.codebook_size} codes of {decoder.embedding_dim} numbers, "
            f"each for {decoder.pixels_per_token} pixels squared, but {CONFIG_NAME} says {expected[0]} of "
            f"{expected[1]}, each for {expected[2]}. The files do not belong together: download them again from one "
            f"repository.",
        )
    tokenizer = JanusTokenizer((options.text_encoder_path or directory) / TOKENIZER_NAME)
    if tokenizer.greatest_id >= layout.config.language.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{directory}: {TOKENIZER_NAME} has the token {tokenizer.greatest_id}, but {CONFIG_NAME} says that the "
            f"transformer knows {layout.config.language.vocab_size}. Take both from one repository.",
        )
    return OpenedJanus(
        name=_name(directory, layout.config.language),
        config=layout.config,
        side=layout.side,
        transformer=stored.renamed(partial(translate, layout.transformer)),
        image_tokenizer=image_tokenizer,
        decoder=decoder,
        tokenizer=tokenizer,
    )


def _name(directory: Path, language: LlamaConfig) -> str:
    own = directory.resolve().name
    if "janus" in own.lower():
        return own
    return OFFICIAL_NAMES.get((language.hidden_size, language.num_hidden_layers), f"Janus {own}")
