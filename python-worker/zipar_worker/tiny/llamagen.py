"""LlamaGen: a small checkpoint with a sidecar, or a weights file of an official size."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

from zipar_worker.checkpoint import without_weights
from zipar_worker.families.llamagen_checkpoint import OFFICIAL_HEADS, Sidecar, SidecarConfig, SidecarVq, decoder_config
from zipar_worker.families.llamagen_model import LlamaGenConfig, LlamaGenTransformer
from zipar_worker.families.sidecar import SIDECAR_NAME
from zipar_worker.tiny.random_weights import random_state
from zipar_worker.vq.llamagen import LlamaGenVQDecoder

OFFICIAL_CODES = 16384
OFFICIAL_CLASSES = 1000
PIXELS_PER_TOKEN = 16
WEIGHTS_NAME = "model.safetensors"
VQ_NAME = "vq.safetensors"


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    if options.shape is None:
        write_small_llamagen(out, generator, options)
    else:
        write_official_llamagen(out, generator, options)


def write_small_llamagen(out: Path, generator: torch.Generator, options: argparse.Namespace) -> None:
    """A directory with a sidecar, the transformer and, unless it is left out, an image tokenizer."""
    config = LlamaGenConfig(
        dim=options.dim,
        layer_count=options.layers,
        head_count=options.heads,
        kv_head_count=options.kv_heads or options.heads,
        vocabulary_size=options.codes,
        class_count=options.classes,
        rows=options.rows,
        columns=options.columns,
    )
    with without_weights():
        transformer = LlamaGenTransformer(config)
    save_file(random_state(transformer, generator), out / WEIGHTS_NAME)
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
            conditioning="class",
            class_count=options.classes,
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
        class_count=OFFICIAL_CLASSES,
        rows=options.size // PIXELS_PER_TOKEN,
        columns=options.size // PIXELS_PER_TOKEN,
    )
    name = options.file or f"c2i_{options.shape}_{options.size}.pt"
    with without_weights():
        transformer = LlamaGenTransformer(config)
    torch.save({"model": random_state(transformer, generator)}, out / name)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, help="heads that have their own K and V, if not all")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")
    parser.add_argument(
        "--shape", choices=[name for name, _, _ in OFFICIAL_HEADS], help="write an official size instead"
    )
    parser.add_argument("--size", type=int, default=256, help="pixels, for --shape")
    parser.add_argument("--file", help="file name, for --shape")
