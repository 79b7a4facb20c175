"""Emu3-Gen: a small checkpoint in the original layout or, with `--layout hf`, in that of transformers.

The original holds its image tokenizer, a repository of its own, in the folder `Emu3-VisionTokenizer`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", choices=["original", "hf"], default="original", help="which published layout")
    parser.add_argument("--area", type=int, default=48 * 48, help="pixels of an image, whatever its shape")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2, help="heads that have their own K and V")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--shard-size", default="512KB", help="largest file of weights")
    parser.add_argument("--positions", type=int, default=256, help="longest prompt and image together, in tokens")
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    # transformers takes seconds to import, which `--help` and the other families shall not cost.
    from zipar_testing.tiny.emu3_files import write_emu3

    write_emu3(out, seed, options)
