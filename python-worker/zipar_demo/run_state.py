"""Training runs that survive being killed: state in safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW


def save_run_(path: Path, model: nn.Module, optimizer: AdamW, step: int) -> None:
    """Write weights, optimizer moments and the step count, replacing what was there."""
    tensors: dict[str, Tensor] = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = value
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    os.replace(partial, path)
    path.with_suffix(".json").write_text(json.dumps({"step": step}))


def load_run_(path: Path, model: nn.Module, optimizer: AdamW) -> int:
    """Continue from `path` where it exists; returns the steps done."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(json.loads(path.with_suffix(".json").read_text())["step"])


class Reporter:
    """Prints step, loss, rate and the time left, every few seconds, and keeps the losses for the card."""

    def __init__(self, name: str, total: int, first: int, log: Path) -> None:
        self.name, self.total, self.first, self.log = name, total, first, log
        self.started = self.printed = time.monotonic()

    def report(self, step: int, **figures: float) -> None:
        now = time.monotonic()
        if now - self.printed < 10 and step + 1 < self.total:
            return
        self.printed = now
        rate = (step + 1 - self.first) / (now - self.started)
        left = (self.total - step - 1) / rate / 60
        shown = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
        print(f"{self.name} {step + 1}/{self.total}  {shown}  {rate:.2f} steps/s  {left:.1f} min left", flush=True)
        with self.log.open("a") as file:
            file.write(json.dumps({"step": step + 1, "seconds": round(now - self.started, 1), **figures}) + "\n")


def cosine_rate(step: int, total: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then cosine decay to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item()))
