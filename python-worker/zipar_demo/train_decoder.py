"""Goes on with the tokenizer's decoder alone: tokens keep their meaning, pictures get cleaner."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from zipar_demo.encoder import Tokenizer
from zipar_demo.run_state import Reporter, cosine_rate, load_run_, load_trained_, save_run_
from zipar_demo.slices import THREADS, make_threads, set_gradients_
from zipar_demo.train_tokenizer import CONFIG, draw_pool, load_tokenizer, reconstruction_loss, sample_batch

RUN_NAME: Final = "decoder.safetensors"
LOG_NAME: Final = "decoder.jsonl"
PEAK_RATE: Final = 1e-3
_SAVE_EVERY = 50


def train_decoder(work: Path, steps: int, seed: int) -> None:
    """Train or go on training, on whole pictures; `work` keeps the run and has the tokenizer's."""
    model = load_tokenizer(work)
    trained = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    for parameter in trained:
        parameter.requires_grad_()
    optimizer = AdamW(trained, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=1e-4)
    path = work / RUN_NAME
    first = load_run_(path, {"model": model}, {"optimizer": optimizer})
    pictures = draw_pool(work)
    reporter = Reporter("decoder", steps, first, work / LOG_NAME)
    threads = make_threads()

    def slice_loss(pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            rebuilt = model.decode(model.tokenize(pixels))
        return reconstruction_loss(rebuilt.float() - pixels)

    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, PEAK_RATE, 10)
        batch = sample_batch(pictures, np.random.default_rng((seed, 4, step)), whole=True)
        loss = set_gradients_(trained, slice_loss, torch.split(batch, len(batch) // THREADS), threads)
        optimizer.step()
        reporter.report(step, loss=loss)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            save_run_(path, {"model": model}, {"optimizer": optimizer}, step + 1)


def load_finished_tokenizer(work: Path) -> Tokenizer:
    """The tokenizer with the decoder that was trained to the end, for use."""
    model = Tokenizer(CONFIG)
    load_trained_(work / RUN_NAME, "model", model)
    return model
