"""LlamaGen, conditioned on classes or on captions.

Image tokens follow each other in raster order without a row-end token. What a checkpoint is: `files.py`, `sidecar.py`
and `shapes.py`; the transformer: `transformer.py`; classes and captions: `prompt.py`, `text_encoder.py` and
`caption.py`; pixels: `vq/llamagen.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import harmless
from zipar_worker.families.description import BRANCHES, OpenOptions
from zipar_worker.families.llamagen.files import OFFICIAL_PIXELS_PER_TOKEN, Files, is_official_name, read_files
from zipar_worker.families.llamagen.prompt import CaptionPrompts, ClassPrompts
from zipar_worker.families.llamagen.transformer import (
    KEYS,
    CaptionCondition,
    ClassCondition,
    ClassEmbedding,
    LlamaGenConfig,
    LlamaGenTransformer,
)
from zipar_worker.families.model import OpenedModel, Stored
from zipar_worker.families.prompts import PromptEncoder
from zipar_worker.families.vq.llamagen import DECODER_KEYS, LlamaGenVQDecoder
from zipar_worker.wire.protocol import ClassCard, Grid, TextCard

NAME = "llamagen"

COMPANIONS: Mapping[str, Companions] = {
    "FoundationVision/LlamaGen/c2i_*": Companions(vq=hub_source("FoundationVision/LlamaGen", "vq_ds16_c2i.pt")),
    "peizesun/llamagen_t2i/t2i_*": Companions(
        vq=hub_source("peizesun/llamagen_t2i", "vq_ds16_t2i.pt"), text_encoder=hub_source("google/flan-t5-xl")
    ),
}


def recognises(path: Path) -> bool:
    """Bare weights are LlamaGen's, which come without a configuration, but for those that have another's name."""
    if path.is_file():
        return True
    return any(is_official_name(file.name) for file in path.iterdir())


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory or a weights file. Raises `checkpoint`."""
    return model_of(read_files(path, options))


def model_of(files: Files) -> OpenedModel:
    config, tokenizer = files.config, files.tokenizer
    with without_weights():
        transformer = LlamaGenTransformer(config)
    image_tokenizer, pixels_per_token = None, OFFICIAL_PIXELS_PER_TOKEN
    if tokenizer is not None:
        with without_weights():
            decoder = LlamaGenVQDecoder(tokenizer.config)
        image_tokenizer = Stored(decoder, tokenizer.checkpoint, DECODER_KEYS)
        pixels_per_token = decoder.pixels_per_token
    grid = Grid(
        rows=config.rows,
        columns=config.columns,
        width=config.columns * pixels_per_token,
        height=config.rows * pixels_per_token,
    )
    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=(grid,),
        row_end="none",
        code_count=config.vocabulary_size,
        remarks=files.remarks,
        branches=BRANCHES if _has_guidance(config) else BRANCHES[:1],
        conditioning=_conditioning_card(files),
        defaults=files.defaults,
        prompt_slots=config.condition.length,
        prompts=_prompts(files, transformer),
        transformer=Stored(transformer, files.checkpoint, KEYS),
        image_tokenizer=image_tokenizer,
        fits_float16=True,  # `--precision fp16` of the official samplers
    )


def _has_guidance(config: LlamaGenConfig) -> bool:
    return isinstance(config.condition, CaptionCondition) or config.condition.has_null_class


def _conditioning_card(files: Files) -> ClassCard | TextCard:
    condition = files.config.condition
    if isinstance(condition, ClassCondition):
        return ClassCard(class_count=condition.class_count, class_names=_harmless_names(files.class_names))
    return TextCard(negative_prompt=None, max_prompt_tokens=condition.length)


def _harmless_names(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(harmless(name) for name in names)


def _prompts(files: Files, transformer: LlamaGenTransformer) -> PromptEncoder:
    embedding = transformer.cls_embedding
    if isinstance(embedding, ClassEmbedding):
        return ClassPrompts(embedding)
    assert files.text_encoder is not None
    return CaptionPrompts(embedding, files.text_encoder)
