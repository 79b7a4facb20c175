"""Trains the small judge that names the class of a picture, on drawn pictures only: it never sees a generated one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from zipar_demo.pixels import to_pixels
from zipar_demo.run_state import Reporter, cosine_rate, load_run_, load_trained_, save_run_
from zipar_demo.scenes import CLASS_NAMES, draw_batch
from zipar_demo.train_tokenizer import draw_pool
from zipar_worker.judge.classifier import Classifier

RUN_NAME: Final = "classifier.safetensors"
LOG_NAME: Final = "classifier.jsonl"
WIDTHS: Final = (3, 24, 32, 48, 64)
"""Channels of the picture and after each convolution, the last of which are the features."""
BATCH: Final = 56
PEAK_RATE: Final = 3e-3
HELD_OUT_SEED: Final = 2_000_000
HELD_OUT_COUNT: Final = 560
"""Pictures from that seed on only measure the accuracy."""
_SAVE_EVERY = 50


def make_classifier() -> Classifier:
    return Classifier(WIDTHS, len(CLASS_NAMES))


def load_trained_classifier(work: Path) -> Classifier:
    """The classifier that was trained in `work`, for use."""
    model = make_classifier()
    load_trained_(work / RUN_NAME, "model", model)
    return model


def train_classifier(work: Path, steps: int, seed: int) -> Classifier:
    """Train or go on training, on the pictures that were drawn for the tokenizer."""
    torch.manual_seed(seed)
    model = make_classifier()
    optimizer = AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    path = work / RUN_NAME
    first = load_run_(path, {"model": model}, {"optimizer": optimizer})
    pictures = draw_pool(work)
    reporter = Reporter("classifier", steps, first, work / LOG_NAME)
    for step in range(first, steps):
        chosen = torch.from_numpy(np.random.default_rng((seed, 3, step)).integers(len(pictures), size=BATCH))
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        logits = model.logits(disturb(to_pixels(pictures[chosen]), random))
        # The classes of the pool take turns.
        loss = F.cross_entropy(logits, chosen % len(CLASS_NAMES))
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, PEAK_RATE, 20)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        reporter.report(step, loss=loss.item())
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            save_run_(path, {"model": model}, {"optimizer": optimizer}, step + 1)
    return model


def held_out_accuracy(model: Classifier) -> float:
    """Share of drawn pictures, apart from those of training, that are named correctly."""
    pictures, classes = draw_batch(HELD_OUT_SEED, HELD_OUT_COUNT)
    return float(np.mean(predict(model, torch.from_numpy(pictures)).numpy() == classes))


@torch.no_grad()
def predict(model: Classifier, pictures: Tensor) -> Tensor:
    """pictures: [N, H, W, 3] uint8 -> class of each: int64 [N]."""
    return torch.cat([model.logits(to_pixels(batch)).argmax(dim=1) for batch in torch.split(pictures, 64)])


def disturb(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Blur, recolour and add noise, each picture by its own amount: reconstructed pictures are never as clean as drawn.

    pixels: [B, 3, H, W] in [-1, 1], returned in the same shape.
    """
    share = torch.rand((5, len(pixels), 1, 1, 1), generator=random)
    blurred = F.avg_pool2d(F.pad(pixels, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    pixels = pixels.lerp(blurred, share[0])
    tint = 0.2 * torch.randn((len(pixels), 3, 1, 1), generator=random)
    pixels = pixels * (0.8 + 0.4 * share[1]) + tint * share[2]
    fine = torch.randn(pixels.shape, generator=random)
    coarse = torch.randn((len(pixels), 3, 16, 16), generator=random)
    mottled = F.interpolate(coarse, size=pixels.shape[-2:], mode="bilinear")
    return (pixels + 0.15 * share[3] * fine + 0.3 * share[4] * mottled).clamp(-1, 1)
