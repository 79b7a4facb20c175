"""The transformer's training set: pictures drawn in shards, then turned into tokens once.

Both stages go on where they stopped: a shard that is on the disk is not made again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from zipar_demo.encoder import Tokenizer
from zipar_demo.pixels import to_pixels
from zipar_demo.run_state import Reporter
from zipar_demo.scenes import draw_batch

SHARD: Final = 512
"""Pictures in one shard."""
FIRST_SEED: Final = 1_000_000
"""The tokenizer's own pictures have smaller seeds."""
_ENCODER_BATCH: Final = 16


@dataclass(frozen=True)
class TokenSet:
    """tokens: int64 [N, rows * columns], raster order; classes: int64 [N]."""

    tokens: Tensor
    classes: Tensor


def draw_shards(work: Path, shard_count: int) -> None:
    """Draw the pictures of all shards that are not there yet; several processes may share the work."""
    folder = work / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    reporter = Reporter("drawing", shard_count, 0, work / "drawing.jsonl")
    for shard in range(shard_count):
        path = folder / f"{shard:03}.npz"
        if not path.exists():
            pictures, classes = draw_batch(FIRST_SEED + shard * SHARD, SHARD)
            _save_arrays(path, pictures=pictures, classes=classes)
        reporter.report(shard)


def make_token_set(work: Path, tokenizer: Tokenizer, shard_count: int) -> TokenSet:
    """Draw and tokenize what is missing, then read everything."""
    draw_shards(work, shard_count)
    folder = work / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    reporter = Reporter("tokens", shard_count, 0, work / "tokens.jsonl")
    tokens, classes = [], []
    for shard in range(shard_count):
        path = folder / f"{shard:03}.npz"
        if not path.exists():
            with np.load(work / "pictures" / path.name) as drawn:
                found = encode_pictures(tokenizer, torch.from_numpy(drawn["pictures"]))
                _save_arrays(path, tokens=found.numpy().astype(np.uint16), classes=drawn["classes"])
        with np.load(path) as stored:
            tokens.append(torch.from_numpy(stored["tokens"].astype(np.int64)))
            classes.append(torch.from_numpy(stored["classes"]))
        reporter.report(shard)
    return TokenSet(torch.cat(tokens), torch.cat(classes))


def encode_pictures(tokenizer: Tokenizer, pictures: Tensor) -> Tensor:
    """pictures: [N, SIZE, SIZE, 3] uint8 -> tokens: int64 [N, rows * columns]."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [tokenizer.tokenize(to_pixels(batch)).flatten(1) for batch in pictures.split(_ENCODER_BATCH)]
    return torch.cat(parts)


def _save_arrays(path: Path, **arrays: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    """Write whole or not at all."""
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    os.replace(partial, path)
