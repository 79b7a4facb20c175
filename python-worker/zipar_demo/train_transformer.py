"""Trains the class-conditional transformer on the tokens of drawn pictures."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW, Muon, Optimizer

from zipar_demo.run_state import Reporter, average_into_, cosine_rate, load_run_, save_run_
from zipar_demo.slices import THREADS, make_threads, set_gradients_
from zipar_demo.token_set import TokenSet
from zipar_demo.transformer import Transformer, TransformerConfig

CONFIG: Final = TransformerConfig()
RUN_NAME: Final = "transformer.safetensors"
LOG_NAME: Final = "transformer.jsonl"
SHARDS: Final = 28
BATCH: Final = 16
PEAK_RATE: Final = 3e-3
WARMUP: Final = 50
WEIGHT_DECAY: Final = 0.02
CLASS_DROPOUT: Final = 0.1
"""Share of the pictures that are shown under the null class, which guidance subtracts."""
HELD_OUT: Final = 256
"""Pictures at the end of the set that only measure the loss."""
_SAVE_EVERY = 200
_MEASURE_EVERY = 400


def train_transformer(work: Path, token_set: TokenSet, steps: int, seed: int) -> Transformer:
    """Train or go on training; `work` keeps the run. Returns the moving average of the weights."""
    torch.manual_seed(seed)
    model = Transformer(CONFIG)
    average = copy.deepcopy(model)
    optimizers = make_optimizers(model)
    modules = {"model": model, "average": average}
    path = work / RUN_NAME
    first = load_run_(path, modules, optimizers)
    reporter = Reporter("transformer", steps, first, work / LOG_NAME)
    held_out_loss = measure_loss(average, token_set)
    threads = make_threads()
    for step in range(first, steps):
        set_rates_(optimizers, cosine_rate(step, steps, PEAK_RATE, WARMUP))
        classes, tokens = _sample(token_set, np.random.default_rng((seed, 2, step)))
        loss = train_step_(model, optimizers, classes, tokens, threads)
        # Early on the average forgets fast, so that it does not drag the random start along.
        average_into_(average, model, keep=min(0.998, (step + 1) / (step + 10)))
        if (step + 1) % _MEASURE_EVERY == 0 or step + 1 == steps:
            held_out_loss = measure_loss(average, token_set)
        reporter.report(step, loss=loss, held_out=held_out_loss)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            save_run_(path, modules, optimizers, step + 1)
    return average


def make_optimizers(model: Transformer) -> dict[str, Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, norms and the head."""
    matrices = [parameter for parameter in model.layers.parameters() if parameter.dim() == 2]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return {
        # The adjustment makes its steps as large as AdamW's, so that one rate serves both.
        "muon": Muon(matrices, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        "adam": AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY),
    }


def set_rates_(optimizers: dict[str, Optimizer], rate: float) -> None:
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate


def train_step_(
    model: Transformer,
    optimizers: dict[str, Optimizer],
    classes: Tensor,
    tokens: Tensor,
    threads: ThreadPoolExecutor,
) -> float:
    """One step on a batch; returns the loss in nats per token. classes: [B], tokens: [B, rows * columns]."""
    size = BATCH // THREADS
    slices = zip(torch.split(classes, size), torch.split(tokens, size), strict=True)
    loss = set_gradients_(list(model.parameters()), lambda part: token_loss(model, *part), slices, threads)
    for optimizer in optimizers.values():
        optimizer.step()
    return loss


def token_loss(model: Transformer, classes: Tensor, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of all image tokens, in nats. classes: [B], tokens: [B, rows * columns]."""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        logits = model(classes, tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())


@torch.no_grad()
def measure_loss(model: Transformer, token_set: TokenSet) -> float:
    """The loss on pictures that training does not see."""
    classes, tokens = (torch.split(part[-HELD_OUT:], BATCH) for part in (token_set.classes, token_set.tokens))
    return float(np.mean([token_loss(model, *batch).item() for batch in zip(classes, tokens, strict=True)]))


def _sample(token_set: TokenSet, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """classes: [BATCH], some replaced by the null class; tokens: [BATCH, rows * columns]."""
    chosen = torch.from_numpy(random.integers(len(token_set.tokens) - HELD_OUT, size=BATCH))
    dropped = torch.from_numpy(random.random(BATCH) < CLASS_DROPOUT)
    return token_set.classes[chosen].masked_fill(dropped, CONFIG.class_count), token_set.tokens[chosen]
