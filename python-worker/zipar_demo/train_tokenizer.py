"""Trains the VQ tokenizer: first without quantisation, then on crops, at last on whole pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from zipar_demo.encoder import Tokenizer
from zipar_demo.pixels import to_pixels
from zipar_demo.run_state import Reporter, cosine_rate, load_run_, load_trained_, save_run_
from zipar_demo.scenes import SIZE, draw_batch
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig

CONFIG: Final = LlamaGenVQConfig(
    codebook_size=512,
    embedding_dim=8,
    channels=32,
    channel_multipliers=(1, 1, 2, 2),
    residual_blocks=1,
    latent_channels=64,
)
RUN_NAME: Final = "tokenizer.safetensors"
LOG_NAME: Final = "tokenizer.jsonl"
POOL: Final = 4096
"""Pictures drawn for training; crops vary them further."""
PEAK_RATE: Final = 1.5e-3
CROP: Final = 64
CROP_BATCH: Final = 24
WHOLE_BATCH: Final = 8
QUANTIZE_FROM: Final = 0.1
"""Share of the steps after which the codebook is made from the embeddings and used."""
WHOLE_FROM: Final = 0.5
REVIVE_UNTIL: Final = 0.7


def train_tokenizer(work: Path, steps: int, seed: int) -> Tokenizer:
    """Train or go on training; `work` keeps the run."""
    torch.manual_seed(seed)
    model = Tokenizer(CONFIG)
    optimizer = AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=1e-4)
    path = work / RUN_NAME
    first = load_run_(path, {"model": model}, {"optimizer": optimizer})
    if first >= steps:
        return model
    pictures = draw_pool(work)
    reporter = Reporter("tokenizer", steps, first, work / LOG_NAME)
    last_used = torch.full((CONFIG.codebook_size,), first)
    quantize_from = round(QUANTIZE_FROM * steps)
    for step in range(first, steps):
        random = np.random.default_rng((seed, 1, step))
        batch = sample_batch(pictures, random, whole=step >= WHOLE_FROM * steps)
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, PEAK_RATE, 50)
        if step == quantize_from:
            _make_codebook_(model, torch.cat([sample_batch(pictures, random, whole=True) for _ in range(8)]), random)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = model.embed(batch)
            codes, quantized, distance = _quantize(model, embeddings)
            chosen = quantized if step >= quantize_from else embeddings
            rebuilt = model.decode_embeddings(chosen.permute(0, 3, 1, 2))
        loss_pixels = reconstruction_loss(rebuilt.float() - batch)
        loss = loss_pixels + distance if step >= quantize_from else loss_pixels
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        used = codes.flatten().bincount().nonzero().flatten()
        last_used[used] = step
        if step % 20 == 0 and quantize_from < step < REVIVE_UNTIL * steps:
            _revive_(model, embeddings.detach(), last_used, step, random)
        reporter.report(step, loss=loss_pixels.item(), codes=len(used))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            save_run_(path, {"model": model}, {"optimizer": optimizer}, step + 1)
    return model


def load_tokenizer(work: Path) -> Tokenizer:
    """The tokenizer that was trained in `work`, for use."""
    model = Tokenizer(CONFIG)
    load_trained_(work / RUN_NAME, "model", model)
    return model


def draw_pool(work: Path) -> Tensor:
    """Training pictures: [POOL, SIZE, SIZE, 3] uint8, drawn once per run."""
    path = work / "pictures.npy"
    if not path.exists():
        print(f"drawing {POOL} pictures", flush=True)
        np.save(path, draw_batch(0, POOL)[0])
    return torch.from_numpy(np.load(path))


def sample_batch(pictures: Tensor, random: np.random.Generator, whole: bool) -> Tensor:
    """A training batch: [B, 3, side, side] in [-1, 1]; crops start on token borders."""
    count, side = (WHOLE_BATCH, SIZE) if whole else (CROP_BATCH, CROP)
    step = CONFIG.pixels_per_token
    rows, columns = random.integers(0, (SIZE - side) // step + 1, size=(2, count)) * step
    chosen = random.integers(0, len(pictures), size=count)
    crops = [pictures[k, r : r + side, c : c + side] for k, r, c in zip(chosen, rows, columns, strict=True)]
    return to_pixels(torch.stack(crops))


def _quantize(model: Tokenizer, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """embeddings: [B, H, W, D] -> codes: [B, H, W]; codes' vectors with straight-through gradient; the VQ loss."""
    with torch.no_grad():
        codes = model.nearest(embeddings)
    chosen = model.quantize(codes)
    distance = (chosen - embeddings.detach()).square().mean() + 0.25 * (embeddings - chosen.detach()).square().mean()
    return codes, embeddings + (chosen - embeddings).detach(), distance


def reconstruction_loss(error: Tensor) -> Tensor:
    """Of the differences to the picture, [B, 3, H, W]: absolute, squared, and between neighbours, which keeps edges."""
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * edges


@torch.no_grad()
def _make_codebook_(model: Tokenizer, pixels: Tensor, random: np.random.Generator) -> None:
    """Set the codes to the centres of spherical k-means over the embeddings of some pictures."""
    flat = model.embed(pixels).flatten(0, 2)
    count = CONFIG.codebook_size
    centres = flat[torch.from_numpy(random.choice(len(flat), count, replace=False))]
    for _ in range(10):
        nearest = (flat @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, flat)
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
    model.quantize.embedding.weight.copy_(centres)


@torch.no_grad()
def _revive_(model: Tokenizer, embeddings: Tensor, last_used: Tensor, step: int, random: np.random.Generator) -> None:
    """Move codes that were not used for a while onto those embeddings of this batch that are served worst."""
    dead = (step - last_used > 60).nonzero().flatten()
    if len(dead) == 0:
        return
    flat = embeddings.flatten(0, 2)
    distance = 1 - (flat @ model.quantize.normalised().T).amax(dim=1)
    shares = (distance.clamp(min=1e-6) / distance.clamp(min=1e-6).sum()).double().numpy()
    chosen = torch.from_numpy(random.choice(len(flat), len(dead), replace=False, p=shares / shares.sum()))
    model.quantize.embedding.weight[dead] = flat[chosen]
    last_used[dead] = step
