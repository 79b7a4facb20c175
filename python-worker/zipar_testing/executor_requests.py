"""What the server hands to a `TorchExecutor`, from plain lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zipar_worker.execute.contract import SequenceFeed
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.wire.protocol import (
    PROTOCOL_VERSION,
    ForwardSequence,
    Init,
    KvCacheForm,
    ModelReference,
    PathSource,
    Size,
    TypeName,
    WeightForm,
)

NONE, DRAW, DISTRIBUTION = 0, 1, 2


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


def init_request(
    path: Path,
    *,
    image_count: int,
    device: str,
    dtype: Literal["auto"] | TypeName,
    vq_path: Path | None = None,
    size: tuple[int, int] | None = None,
    weights_key: str | None = None,
    weights: WeightForm = "full",
    kv_cache: KvCacheForm = "full",
    cuda_graphs: bool = False,
) -> Init:
    """For a checkpoint from its files."""
    return Init(
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
        dtype=dtype,
        weights=weights,
        kv_cache=kv_cache,
        image_count=image_count,
        fewer_images=False,
        cuda_graphs=cuda_graphs,
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


def runs_of(slots: Collection[int]) -> list[tuple[int, int]]:
    """The slots as ascending [first, end) runs."""
    runs: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + 1)
        else:
            runs.append((slot, slot + 1))
    return runs
