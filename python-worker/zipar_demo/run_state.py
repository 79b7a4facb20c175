"""Training runs that survive being killed: state in safetensors, written whole or not at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from math import cos, pi
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

_SECONDS_BETWEEN_REPORTS = 10


def save_run_(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], step: int) -> None:
    """Write weights, optimizer moments and the step count, replacing what was there. The names become prefixes."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    os.replace(partial, path)


def load_run_(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> int:
    """Continue from `path` where it exists; returns the steps done."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    for name, module in modules.items():
        module.load_state_dict(_below(tensors, name))
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, name).items():
            index, entry = key.split(".")
            state.setdefault(int(index), {})[entry] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def load_trained_(path: Path, name: str, module: nn.Module) -> int:
    """Fill one module from a run, to use it rather than to go on training; returns the steps done."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; run the training step that writes it first")
    step = load_run_(path, {name: module}, {})
    module.eval().requires_grad_(False)
    return step


class Reporter:
    """Prints step, loss, rate and the time left, every few seconds, and keeps the losses for the card."""

    def __init__(self, name: str, total: int, first: int, log: Path) -> None:
        self.name, self.total, self.first, self.log = name, total, first, log
        self.started = self.printed = time.monotonic()

    def report(self, step: int, **figures: float) -> None:
        now = time.monotonic()
        if now - self.printed < _SECONDS_BETWEEN_REPORTS and step + 1 < self.total:
            return
        self.printed = now
        rate = (step + 1 - self.first) / (now - self.started)
        left = (self.total - step - 1) / rate / 60
        shown = "  ".join([f"{self.name} {step + 1}/{self.total}", *(f"{key} {x:.4f}" for key, x in figures.items())])
        print(f"{shown}  {rate:.2f} steps/s  {left:.1f} min left", flush=True)
        with self.log.open("a") as file:
            file.write(
                json.dumps({"step": step + 1, "of": self.total, "seconds": round(now - self.started, 1), **figures})
                + "\n"
            )


def training_seconds(log: Path) -> float:
    """Time that a run took, from its log; a run that was resumed has several clocks that start at zero."""
    total, previous = 0.0, 0.0
    for line in log.read_text().splitlines():
        seconds = float(json.loads(line)["seconds"])
        total += seconds - previous if seconds > previous else seconds
        previous = seconds
    return total


def cosine_rate(step: int, total: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then cosine decay to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + cos(progress * pi)))


@torch.no_grad()
def average_into_(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Moving average of the weights: average = keep * average + (1 - keep) * model."""
    for target, source in zip(average.parameters(), model.parameters(), strict=True):
        target.lerp_(source, 1 - keep)


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
