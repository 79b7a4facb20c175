"""What the CPU makes of scripted images in float32, forward by forward, for another device to repeat.

Every forward is run twice: first for its unfiltered distributions, from which numbers are chosen that draw clearly,
then for its draws. The second run writes the same keys and values into the same slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zipar_testing.executor_requests import DISTRIBUTION, DRAW, NONE, Feed, forward_request
from zipar_testing.gpu_check.clear_draws import PLAIN, Sampling, clear_uniforms
from zipar_testing.gpu_check.random_models import Served
from zipar_testing.gpu_check.scripted_image import Planned, ScriptedImage
from zipar_testing.gpu_check.wavefront import Cell, Layout
from zipar_worker.execute.contract import ForwardResult
from zipar_worker.wire.protocol import EncodePrompt

_DISTRIBUTIONS_EVERY = 3
_BRANCH_LEFT_OUT_AFTER = 0.75


@dataclass(frozen=True, slots=True)
class Part:
    """A sequence of a script. delay: forwards of others before its first; guidance_ends: leaves out the second branch
    in the last quarter of the image.
    """

    sequence: int
    cache_rows: tuple[int, ...]
    window: int
    guidance_scale: float
    sampling: Sampling = PLAIN
    lookahead: int = 0
    delay: int = 0
    guidance_ends: bool = False


@dataclass(frozen=True, slots=True)
class RecordedForward:
    """dense: what the queries of `dense_feed` gave, in order: float32 [W, V]; result: what `feeds` gave."""

    feeds: tuple[Feed, ...]
    dense: Tensor
    result: ForwardResult


@dataclass(frozen=True, slots=True)
class Recording:
    parts: tuple[Part, ...]
    forwards: tuple[RecordedForward, ...]
    tokens: Mapping[int, Mapping[Cell, int]]
    """Of every sequence."""


def record(
    reference: Served, parts: Sequence[Part], guesses: Mapping[Cell, int] | None = None, most_forwards: int = 10_000
) -> Recording:
    images = hold(reference, parts, guesses)
    forwards: list[RecordedForward] = []
    for number in range(most_forwards):
        live = [part for part in parts if number >= part.delay and not images[part.sequence].is_complete]
        if not live and all(image.is_complete for image in images.values()):
            break
        if live:
            forwards.append(_record_forward(reference, number, live, images))
    release(reference, parts)
    return Recording(tuple(parts), tuple(forwards), {number: image.tokens for number, image in images.items()})


def hold(served: Served, parts: Sequence[Part], guesses: Mapping[Cell, int] | None = None) -> dict[int, ScriptedImage]:
    """Encodes the prompts. The images are those of the sequences, not begun."""
    grid = served.card.grids[0]
    images = {}
    for part in parts:
        encoded = served.executor.encode_prompt(
            EncodePrompt(
                epoch=0,
                request=0,
                frames=(),
                sequence=part.sequence,
                cache_rows=part.cache_rows,
                rows=grid.rows,
                columns=grid.columns,
                conditioning=served.conditioning(part.sequence),
            )
        )
        layout = Layout(grid.rows, grid.columns, served.card.row_end == "token", encoded.prompt_length)
        images[part.sequence] = ScriptedImage(layout, part.window, served.card.code_count, part.lookahead, guesses)
    return images


def release(served: Served, parts: Sequence[Part]) -> None:
    served.executor.release([part.sequence for part in parts])


def dense_feed(feed: Feed) -> Feed:
    """The same queries, asked for their distributions without any filter."""
    queries = [(token, slot, want if want == NONE else DISTRIBUTION) for token, slot, want in feed.queries]
    return replace(feed, queries=queries, uniforms=(), temperature=1.0, top_k=0, top_p=1.0)


def dense_probabilities(result: ForwardResult, code_count: int) -> Tensor:
    """The distributions of a result with zeros where they were filtered: float32 [N, V]."""
    lengths = torch.tensor(result.distribution_lengths.tolist(), dtype=torch.int64)
    rows = torch.arange(len(lengths)).repeat_interleave(lengths)
    tokens = torch.tensor(result.distribution_tokens.tolist(), dtype=torch.int64)
    dense = torch.zeros(len(lengths), code_count)
    dense[rows, tokens] = torch.tensor(result.distribution_probabilities.tolist(), dtype=torch.float32)
    return dense


def _record_forward(
    reference: Served, number: int, live: Sequence[Part], images: Mapping[int, ScriptedImage]
) -> RecordedForward:
    executor, code_count = reference.executor, reference.card.code_count
    planned = {part.sequence: images[part.sequence].plan() for part in live}
    probes = [dense_feed(_feed(part, planned[part.sequence], images[part.sequence])) for part in live]
    dense = dense_probabilities(executor.forward(forward_request(executor, probes)), code_count)
    # A lookahead stands and falls with draws: distributions would guide it nowhere.
    asks_distributions = number % _DISTRIBUTIONS_EVERY == 2 and not any(part.lookahead for part in live)
    feeds, first = [], 0
    for part, probe in zip(live, probes, strict=True):
        wanted = [query for query in planned[part.sequence].queries if query.draws is not None]
        own = dense[first : first + len(wanted)]
        first += len(wanted)
        cells = [query.draws for query in wanted if query.draws is not None]
        sampling, uniforms = _clear_sampling(part, cells, own.log())
        want = DISTRIBUTION if asks_distributions else DRAW
        feeds.append(
            replace(
                probe,
                queries=[(token, slot, want if asked else NONE) for token, slot, asked in probe.queries],
                uniforms=() if asks_distributions else uniforms,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
            )
        )
    result = executor.forward(forward_request(executor, feeds))
    chosen = dense.argmax(dim=-1).tolist() if asks_distributions else result.drawn_tokens.tolist()
    drawn = iter(chosen)
    for part in live:
        cells = [query.draws for query in planned[part.sequence].queries if query.draws is not None]
        images[part.sequence].commit({cell: next(drawn) for cell in cells})
    return RecordedForward(tuple(feeds), dense, result)


def _feed(part: Part, planned: Planned, image: ScriptedImage) -> Feed:
    cell_count = image.layout.rows * image.layout.columns
    leaves_out = part.guidance_ends and len(image.tokens) > _BRANCH_LEFT_OUT_AFTER * cell_count
    return Feed(
        sequence=part.sequence,
        queries=[
            (token, query.slot, NONE if query.draws is None else DRAW)
            for query, token in zip(planned.queries, planned.tokens, strict=True)
        ],
        runs=planned.runs,
        guidance_scale=part.guidance_scale,
        branches=(0,) if leaves_out else None,
        steps=planned.steps,
    )


def _clear_sampling(part: Part, cells: Sequence[Cell], logits: Tensor) -> tuple[Sampling, list[float]]:
    """The part's own sampling where it can be had without a close call, and a number for each cell."""
    for sampling in (part.sampling, PLAIN):
        uniforms = clear_uniforms(logits, sampling, list(map(str, cells)))
        if uniforms is not None:
            return sampling, uniforms
    raise AssertionError("no number draws clearly")
