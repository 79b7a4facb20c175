"""Drives a `TorchExecutor` the way the server does, from plain lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from plain_llamagen import PlainConfig
from safetensors.torch import save_file
from torch import Tensor

from zipar_testing.executor_requests import DISTRIBUTION, DRAW, NONE, Feed, forward_request, init_request, runs_of
from zipar_worker.execute.contract import ForwardResult, Loaded
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.wire.protocol import ClassConditioning, EncodePrompt, KvCacheForm, WeightForm

__all__ = ["DISTRIBUTION", "DRAW", "NONE", "Feed", "forward_request", "runs_of"]

# The tensors of the tests are too small for threads to pay.
torch.set_num_threads(1)


@dataclass
class Driver:
    executor: TorchExecutor
    loaded: Loaded

    def encode(self, sequence: int, class_index: int, cache_rows: Sequence[int]) -> None:
        grid = self.loaded.card.grids[0]
        self.executor.encode_prompt(encode_prompt_request(sequence, class_index, cache_rows, grid.rows, grid.columns))

    def forward(self, *feeds: Feed) -> ForwardResult:
        return self.executor.forward(forward_request(self.executor, feeds))


def start(
    path: Path,
    *,
    image_count: int = 2,
    device: str = "cpu",
    dtype: str = "auto",
    vq_path: Path | None = None,
    size: tuple[int, int] | None = None,
    weights_key: str | None = None,
    weights: WeightForm = "full",
    kv_cache: KvCacheForm = "full",
) -> Driver:
    executor = TorchExecutor()
    request = init_request(
        path,
        image_count=image_count,
        device=device,
        dtype=dtype,  # type: ignore[arg-type]
        vq_path=vq_path,
        size=size,
        weights_key=weights_key,
        weights=weights,
        kv_cache=kv_cache,
    )
    return Driver(executor, executor.init(request, lambda phase, completed, total, unit: None))


def encode_prompt_request(
    sequence: int, class_index: int, cache_rows: Sequence[int], rows: int, columns: int
) -> EncodePrompt:
    return EncodePrompt(
        epoch=0,
        request=0,
        frames=(),
        sequence=sequence,
        cache_rows=tuple(cache_rows),
        rows=rows,
        columns=columns,
        conditioning=ClassConditioning(class_index=class_index),
    )


def write_checkpoint(directory: Path, config: PlainConfig, state: Mapping[str, Tensor]) -> Path:
    """A directory with a sidecar and weights."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), directory / "model.safetensors")
    (directory / "zipar.json").write_bytes(msgspec.json.encode(sidecar(config)))
    return directory


def sidecar(config: PlainConfig) -> dict[str, object]:
    return {
        "family": "llamagen",
        "weights": "model.safetensors",
        "config": {
            "dim": config.dim,
            "layers": config.layers,
            "heads": config.heads,
            "kvHeads": config.kv_heads,
            "vocabSize": config.codes,
            "rows": config.rows,
            "columns": config.columns,
            "conditioning": "class",
            "classCount": config.classes,
        },
    }
