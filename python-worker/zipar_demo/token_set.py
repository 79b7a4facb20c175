"""The transformer's training set: pictures are drawn, turned into tokens once, and forgotten.

Made in shards by one process per core. A shard that is on the disk is not made again.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from zipar_demo.encoder import Tokenizer
from zipar_demo.pixels import to_pixels
from zipar_demo.run_state import Reporter
from zipar_demo.scenes import draw_batch
from zipar_demo.train_tokenizer import load_tokenizer

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


def make_token_set(work: Path, shard_count: int) -> TokenSet:
    """Make the shards that are missing in `work`, then read all of them."""
    (work / "tokens").mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in range(shard_count) if not _shard_path(work, shard).exists()]
    if missing:
        reporter = Reporter("tokens", len(missing), 0, work / "tokens.jsonl")
        # Fresh processes: a forked one would inherit the state of the parent's thread pools.
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            for done, shard in enumerate(as_completed([pool.submit(_make_shard, work, shard) for shard in missing])):
                shard.result()
                reporter.report(done)
    shards = [_read_shard(_shard_path(work, shard)) for shard in range(shard_count)]
    return TokenSet(torch.cat([shard.tokens for shard in shards]), torch.cat([shard.classes for shard in shards]))


@torch.no_grad()
def encode_pictures(tokenizer: Tokenizer, pictures: Tensor) -> Tensor:
    """pictures: [N, SIZE, SIZE, 3] uint8 -> tokens: int64 [N, rows * columns]."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [tokenizer.tokenize(to_pixels(batch)).flatten(1) for batch in torch.split(pictures, _ENCODER_BATCH)]
    return torch.cat(parts)


def _make_shard(work: Path, shard: int) -> None:
    torch.set_num_threads(1)
    pictures, classes = draw_batch(FIRST_SEED + shard * SHARD, SHARD)
    tokens = encode_pictures(load_tokenizer(work), torch.from_numpy(pictures))
    path = _shard_path(work, shard)
    unfinished = path.with_suffix(".partial.npz")
    np.savez(unfinished, allow_pickle=False, tokens=tokens.numpy().astype(np.uint16), classes=classes)
    os.replace(unfinished, path)


def _read_shard(path: Path) -> TokenSet:
    with np.load(path) as stored:
        return TokenSet(torch.from_numpy(stored["tokens"].astype(np.int64)), torch.from_numpy(stored["classes"]))


def _shard_path(work: Path, shard: int) -> Path:
    return work / "tokens" / f"{shard:03}.npz"
