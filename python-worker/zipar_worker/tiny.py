"""Writes checkpoints with random weights, for tests and for benchmarks.

    python -m zipar_worker.tiny llamagen --out DIRECTORY --seed 1 --rows 8 --columns 8      a small one, with a sidecar
    python -m zipar_worker.tiny llamagen --out DIRECTORY --seed 1 --shape B --size 256      an official size and format

The weights are scaled so that activations keep their size and logits spread over several units: greedy choices are
clear, and every token, class and position matters.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zipar_worker.checkpoint import without_weights
from zipar_worker.families.llamagen_checkpoint import OFFICIAL_HEADS, Sidecar, SidecarConfig, SidecarVq, decoder_config
from zipar_worker.families.llamagen_model import LlamaGenConfig, LlamaGenTransformer
from zipar_worker.families.sidecar import SIDECAR_NAME
from zipar_worker.vq.llamagen import LlamaGenVQDecoder

OFFICIAL_CODES = 16384
OFFICIAL_CLASSES = 1000
PIXELS_PER_TOKEN = 16
WEIGHTS_NAME = "model.safetensors"
VQ_NAME = "vq.safetensors"

_LOGIT_SPREAD = 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(options.seed)
    if options.shape is None:
        write_small_llamagen(options, generator)
    else:
        write_official_llamagen(options, generator)


def write_small_llamagen(options: argparse.Namespace, generator: torch.Generator) -> None:
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
    save_file(random_state(transformer, generator), options.out / WEIGHTS_NAME)
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
        save_file(random_state(decoder, generator), options.out / VQ_NAME)
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
    (options.out / SIDECAR_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=2))


def write_official_llamagen(options: argparse.Namespace, generator: torch.Generator) -> None:
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
    torch.save({"model": random_state(transformer, generator)}, options.out / name)


def random_state(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Random tensors for every parameter of a module, on any device, in the order of their names."""
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    return {name: _random_tensor(name, shapes[name], generator) for name in sorted(shapes)}


def _random_tensor(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1.0 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    if "embedding" in name:
        return noise
    spread = _LOGIT_SPREAD if name == "output.weight" else 1.0
    return noise * (spread / sqrt(shape[1:].numel()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zipar_worker.tiny", description="Writes a checkpoint with random weights.")
    parser.add_argument("family", choices=["llamagen"])
    parser.add_argument("--out", type=Path, required=True, help="directory to write into")
    parser.add_argument("--seed", type=int, default=0)
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
    return parser


if __name__ == "__main__":
    main()
