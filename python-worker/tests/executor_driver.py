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

from zipar_worker.execute.contract import ForwardResult, Loaded, SequenceFeed
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.wire.protocol import (
    PROTOCOL_VERSION,
    ClassConditioning,
    EncodePrompt,
    ForwardSequence,
    Init,
    ModelReference,
    PathSource,
    Size,
)

NONE, DRAW, DISTRIBUTION = 0, 1, 2

# The tensors of the tests are too small for threads to pay.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Feed:
    """What one sequence brings to a forward. queries: (token, slot, want); runs: (first, end).

    branches: those that run; without a value all that the sequence has.
    """

    sequence: int
    queries: Sequence[tuple[int, int, int]]
    runs: Sequence[tuple[int, int]]
    uniforms: Sequence[float] = ()
    guidance_scale: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    branches: Sequence[int] | None = None
    steps: Sequence[int] = ()


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
) -> Driver:
    executor = TorchExecutor()
    request = Init(
        epoch=0,
        request=0,
        frames=(),
        protocol_version=PROTOCOL_VERSION,
        model=ModelReference(
            weights=PathSource(path=str(path)),
            vq=PathSource(path=str(vq_path)) if vq_path else None,
            text_encoder=None,
            size=Size(width=size[0], height=size[1]) if size else None,
            weights_key=weights_key,
        ),
        device=device,
        dtype=dtype,  # type: ignore[arg-type]
        image_count=image_count,
        fewer_images=False,
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


def forward_request(executor: TorchExecutor, feeds: Sequence[Feed]) -> list[SequenceFeed]:
    return [
        SequenceFeed(
            settings=ForwardSequence(
                sequence=feed.sequence,
                branches=tuple(feed.branches or range(len(executor._held[feed.sequence].cache_rows))),
                query_count=len(feed.queries),
                run_count=len(feed.runs),
                draw_count=len(feed.uniforms),
                guidance_scale=feed.guidance_scale,
                temperature=feed.temperature,
                top_k=feed.top_k,
                top_p=feed.top_p,
            ),
            tokens=[token for token, _, _ in feed.queries],
            slots=[slot for _, slot, _ in feed.queries],
            wants=bytes([want for _, _, want in feed.queries]),
            uniforms=list(feed.uniforms),
            runs=[bound for run in feed.runs for bound in run],
            steps=list(feed.steps) or [0] * len(feed.queries),
        )
        for feed in feeds
    ]


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


def runs_of(slots: Sequence[int] | set[int]) -> list[tuple[int, int]]:
    """The slots as ascending [first, end) runs."""
    runs: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + 1)
        else:
            runs.append((slot, slot + 1))
    return runs
