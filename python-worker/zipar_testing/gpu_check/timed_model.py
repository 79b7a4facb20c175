"""A model with random weights on the device, one image of it held, ready to be timed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zipar_testing.executor_requests import DRAW, NONE, Feed, forward_request
from zipar_testing.gpu_check.architectures import Architecture
from zipar_testing.gpu_check.device_clock import Run
from zipar_testing.gpu_check.random_models import Served, open_random, serve_filled
from zipar_testing.gpu_check.recording import Part, hold
from zipar_testing.gpu_check.wavefront import Layout, Query
from zipar_worker.execute.devices import check_memory
from zipar_worker.execute.dtypes import DTYPES
from zipar_worker.wire.protocol import TypeName

_SEQUENCE = Part(sequence=1, cache_rows=(0, 1), window=1, guidance_scale=1.0)


@dataclass(frozen=True, slots=True)
class TimedModel:
    """layout: of its image, in both branches."""

    name: str
    served: Served
    layout: Layout
    device: torch.device
    dtype: TypeName

    def forward(self, queries: list[Query], runs: list[tuple[int, int]]) -> Run:
        """A forward of the executor, to be run as often as one likes. Tokens are any; wanted cells are drawn."""
        defaults = self.served.card.defaults
        feed = Feed(
            sequence=_SEQUENCE.sequence,
            queries=[
                (
                    self.served.card.code_count if query.is_row_end(self.layout) else 0,
                    query.slot,
                    NONE if query.draws is None else DRAW,
                )
                for query in queries
            ],
            runs=runs,
            uniforms=[0.5] * sum(query.draws is not None for query in queries),
            guidance_scale=defaults.guidance_scale,
            temperature=defaults.temperature,
            top_k=defaults.top_k,
            top_p=defaults.top_p,
        )
        request = forward_request(self.served.executor, [feed])
        return lambda: self.served.executor.forward(request)


def build(architecture: Architecture, device: torch.device, dtype: TypeName) -> TimedModel:
    """Raises `out-of-memory` before it takes what is not there."""
    opened = open_random(architecture)
    weight_bytes = sum(opened.describe(DTYPES[dtype]).weight_bytes.values())
    check_memory(f"{architecture.name} in {dtype}", weight_bytes, device)
    served = serve_filled(opened, dtype, device, cache_row_count=2)
    (image,) = hold(served, [_SEQUENCE]).values()
    return TimedModel(architecture.name, served, image.layout, device, dtype)
