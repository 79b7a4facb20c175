"""LlamaGen for classes or, with `--text`, for captions: a small checkpoint, or a weights file of an official size.

For captions a tiny text encoder is written beside the weights, in the directory that the official code expects.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

from zipar_testing.tiny.llamagen_text_encoder import write_text_encoder
from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.sidecar import SIDECAR_NAME
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.llamagen.shapes import OFFICIAL_HEADS
from zipar_worker.families.llamagen.sidecar import Sidecar, SidecarConfig, SidecarVq, decoder_config
from zipar_worker.families.llamagen.text_encoder import OFFICIAL_PLACES
from zipar_worker.families.llamagen.transformer import (
    KEYS,
    CaptionCondition,
    ClassCondition,
    LlamaGenConfig,
    LlamaGenTransformer,
)
from zipar_worker.families.vq.llamagen import LlamaGenVQDecoder

OFFICIAL_CODES = 16384
OFFICIAL_CLASSES = 1000
OFFICIAL_CAPTION = CaptionCondition(length=120, feature_dim=2048)
PIXELS_PER_TOKEN = 16
WEIGHTS_NAME = "model.safetensors"
VQ_NAME = "vq.safetensors"


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    if options.shape is None:
        write_small_llamagen(out, generator, options)
    else:
        write_official_llamagen(out, generator, options)
    if options.text:
        feature_dim = options.feature_dim if options.shape is None else OFFICIAL_CAPTION.feature_dim
        write_text_encoder(out / OFFICIAL_PLACES[0], feature_dim, generator)


def write_small_llamagen(out: Path, generator: torch.Generator, options: argparse.Namespace) -> None:
    """A directory with a sidecar, the transformer and, unless it is left out, an image tokenizer."""
    config = LlamaGenConfig(
        dim=options.dim,
        layer_count=options.layers,
        head_count=options.heads,
        kv_head_count=options.kv_heads or options.heads,
        vocabulary_size=options.codes,
        condition=(
            CaptionCondition(options.caption_length, options.feature_dim)
            if options.text
            else ClassCondition(options.classes)
        ),
        rows=options.rows,
        columns=options.columns,
    )
    with without_weights():
        transformer = LlamaGenTransformer(config)
    save_file(random_state(transformer, generator, KEYS), out / WEIGHTS_NAME)
    vq = None
    if options.vq:
        vq = SidecarVq(
            weights=VQ_NAME,
            codebook_size=options.codes,
            embedding_dim=8,
            channels=32,
            channel_multipliers=(1, 1),
            residual_blocks=1,
            latent_channels=32,
        )
        with without_weights():
            decoder = LlamaGenVQDecoder(decoder_config(vq))
        save_file(random_state(decoder, generator), out / VQ_NAME)
    sidecar = Sidecar(
        family="llamagen",
        weights=WEIGHTS_NAME,
        config=SidecarConfig(
            dim=options.dim,
            layers=options.layers,
            heads=options.heads,
            kv_heads=options.kv_heads,
            vocab_size=options.codes,
            rows=options.rows,
            columns=options.columns,
            conditioning="text" if options.text else "class",
            class_count=None if options.text else options.classes,
        ),
        vq=vq,
    )
    (out / SIDECAR_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=2))


def write_official_llamagen(out: Path, generator: torch.Generator, options: argparse.Namespace) -> None:
    """One weights file of an official size, wrapped and named like the published ones."""
    (dim, layer_count), head_count = next(
        ((dim, layers), heads) for (name, dim, layers), heads in OFFICIAL_HEADS.items() if name == options.shape
    )
    config = LlamaGenConfig(
        dim=dim,
        layer_count=layer_count,
        head_count=head_count,
        kv_head_count=head_count,
        vocabulary_size=OFFICIAL_CODES,
        condition=OFFICIAL_CAPTION if options.text else ClassCondition(OFFICIAL_CLASSES),
        rows=options.size // PIXELS_PER_TOKEN,
        columns=options.size // PIXELS_PER_TOKEN,
    )
    stem = f"t2i_{options.shape}_stage{1 if options.size == 256 else 2}" if options.text else f"c2i_{options.shape}"
    name = options.file or f"{stem}_{options.size}.pt"
    with without_weights():
        transformer = LlamaGenTransformer(config)
    torch.save({"model": random_state(transformer, generator, KEYS)}, out / name)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, help="heads that have their own K and V, if not all")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--text", action="store_true", help="conditioned on captions, with a tiny text encoder")
    parser.add_argument("--caption-length", type=int, default=OFFICIAL_CAPTION.length, help="slots, for --text")
    parser.add_argument("--feature-dim", type=int, default=48, help="width of the text encoder, for --text")
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")
    parser.add_argument(
        "--shape", choices=[name for name, _, _ in OFFICIAL_HEADS], help="write an official size instead"
    )
    parser.add_argument("--size", type=int, default=256, help="pixels, for --shape")
    parser.add_argument("--file", help="file name, for --shape")
