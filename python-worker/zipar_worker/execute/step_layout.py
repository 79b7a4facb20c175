"""How one forward lies in tensors: named arrays of plain numbers on the host, sent to the device in two copies.

A batch row is one branch of one sequence, or padding. Rows are in the order of their cache rows, so that the cache can
usually be read in place. Sequences with fewer queries than others are padded with queries that write to the trash slot
and see one slot. B batch rows, Q queries per row, W wanted queries, D draws, N distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from zipar_worker.execute.contract import PromptBranch, SequenceFeed
from zipar_worker.execute.layers import FedPrompts
from zipar_worker.execute.model_inputs import ModelInputs, join_inputs, view_inputs
from zipar_worker.execute.sampling import FilterSettings
from zipar_worker.execute.step_shape import HeldPrompt, StepShape
from zipar_worker.wire.protocol import WANT_DISTRIBUTION, WANT_DRAW, WANT_NONE, ForwardSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A forward on the device. Tensors are int64 unless it says otherwise.

    inputs: what the layers read, and prompts: the embeddings of queries that lie in prompts, None where none does;
    logit_rows: [L] into B * Q, the conditional rows of all wanted queries first;
    unconditional: [W] into those L, the query itself where it has one branch; guidance_scales: float64 [W];
    draws: [D] and distributions: [N] into the wanted queries; uniforms: float64 [D].
    """

    inputs: ModelInputs
    prompts: FedPrompts | None
    logit_rows: Tensor
    unconditional: Tensor
    guidance_scales: Tensor
    filters: FilterSettings
    draws: Tensor
    distributions: Tensor
    uniforms: Tensor


class _Row(NamedTuple):
    """One branch of one sequence in this forward."""

    branch: PromptBranch
    feed: SequenceFeed


class _Wanted(NamedTuple):
    """A query that wants something. Rows are into B * Q; without a second branch it has no unconditional one."""

    settings: ForwardSequence
    want: int
    row: int
    unconditional_row: int | None


def lay_out_step(
    feeds: Sequence[SequenceFeed],
    held: Mapping[int, HeldPrompt],
    shape: StepShape,
    *,
    trash_slot: int,
    device: torch.device,
) -> Step:
    """Lays out a forward of held sequences and sends it to the device, without waiting for that.

    shape: at least `shape_of` the feeds.
    """
    first_queries = {row: index * shape.query_count for index, row in enumerate(shape.cache_rows)}
    prompts, prompt_sources, prompt_destinations = _prompt_queries(feeds, held, first_queries)
    wanted = _wanted_queries(feeds, held, first_queries)
    logit_rows, unconditional = _logit_rows(wanted)
    settings = [query.settings for query in wanted]

    rows = _batch_rows(feeds, held)
    by_row = partial(_by_row, [rows.get(row) for row in shape.cache_rows])
    query_count = shape.query_count
    inputs = {
        "cache_row_indices": shape.cache_rows,
        "tokens": by_row(lambda row: row.feed.tokens, query_count),
        "slots": by_row(lambda row: row.feed.slots, query_count, filler=trash_slot),
        "positions": by_row(_positions, query_count),
        "steps": by_row(lambda row: row.feed.steps, query_count),
        "paddings": by_row(lambda row: [row.branch.padding], 1),
        "runs": by_row(lambda row: row.feed.runs, 2 * shape.run_count),
    }
    integers = {
        "inputs": join_inputs(shape, inputs),
        "prompt_sources": prompt_sources,
        "prompt_destinations": prompt_destinations,
        "logit_rows": logit_rows,
        "unconditional": unconditional,
        "top_k": [setting.top_k for setting in settings],
        "draws": [index for index, query in enumerate(wanted) if query.want == WANT_DRAW],
        "distributions": [index for index, query in enumerate(wanted) if query.want == WANT_DISTRIBUTION],
    }
    floats = {
        "guidance_scales": [setting.guidance_scale for setting in settings],
        "temperatures": [setting.temperature for setting in settings],
        "top_p": [setting.top_p for setting in settings],
        "uniforms": [uniform for feed in feeds for uniform in feed.uniforms],
    }
    tensors = {**_upload(integers, torch.int64, device), **_upload(floats, torch.float64, device)}
    filters = FilterSettings(
        temperatures=tensors.pop("temperatures"),
        top_k=tensors.pop("top_k"),
        top_p=tensors.pop("top_p"),
        largest_top_k=max((setting.top_k for setting in settings), default=0),
        same_top_k=len({setting.top_k for setting in settings}) == 1,
        some_top_p=any(setting.top_p < 1 for setting in settings),
        some_greedy=any(setting.temperature == 0 for setting in settings),
        all_greedy=all(setting.temperature == 0 for setting in settings),
    )
    sources, destinations = tensors.pop("prompt_sources"), tensors.pop("prompt_destinations")
    return Step(
        inputs=view_inputs(shape, tensors.pop("inputs")),
        prompts=None if prompts is None else FedPrompts(prompts, sources, destinations),
        filters=filters,
        **tensors,
    )


def _batch_rows(feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt]) -> dict[int, _Row]:
    """By cache row."""
    rows: dict[int, _Row] = {}
    for feed in feeds:
        sequence = held[feed.settings.sequence]
        for index in feed.settings.branches:
            rows[sequence.cache_rows[index]] = _Row(sequence.prompt.branches[index], feed)
    return rows


def _prompt_queries(
    feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt], first_queries: Mapping[int, int]
) -> tuple[Tensor | None, list[int], list[int]]:
    """Queries whose slots lie in the prompt: the prompts that they need, where in those, and where in the batch."""
    prompts: list[Tensor] = []
    sources: list[int] = []
    destinations: list[int] = []
    prompt_start = 0
    for feed in feeds:
        sequence = held[feed.settings.sequence]
        length = sequence.prompt.length
        inside = [(query, slot) for query, slot in enumerate(feed.slots) if slot < length]
        if not inside:
            continue
        for branch in feed.settings.branches:
            sources += [prompt_start + branch * length + slot for _, slot in inside]
            destinations += [first_queries[sequence.cache_rows[branch]] + query for query, _ in inside]
        prompts.append(sequence.prompt.embeddings.flatten(0, 1))
        prompt_start += len(prompts[-1])
    return torch.cat(prompts) if prompts else None, sources, destinations


def _wanted_queries(
    feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt], first_queries: Mapping[int, int]
) -> list[_Wanted]:
    """In query order over all sequences."""
    wanted: list[_Wanted] = []
    for feed in feeds:
        cache_rows = held[feed.settings.sequence].cache_rows
        first, *others = [first_queries[cache_rows[branch]] for branch in feed.settings.branches]
        for query, want in enumerate(feed.wants):
            if want != WANT_NONE:
                wanted.append(_Wanted(feed.settings, want, first + query, others[0] + query if others else None))
    return wanted


def _logit_rows(wanted: Sequence[_Wanted]) -> tuple[list[int], list[int]]:
    """`logit_rows` and `unconditional` of a `Step`."""
    rows = [query.row for query in wanted]
    unconditional: list[int] = []
    for index, query in enumerate(wanted):
        if query.unconditional_row is None:
            unconditional.append(index)
        else:
            unconditional.append(len(rows))
            rows.append(query.unconditional_row)
    return rows, unconditional


def _positions(row: _Row) -> list[int]:
    offset = row.branch.position_offset
    return [max(slot - offset, 0) for slot in row.feed.slots]


def _by_row(
    rows: Sequence[_Row | None], values: Callable[[_Row], Sequence[int]], count: int, filler: int = 0
) -> list[int]:
    """B times `count` numbers: those of a row first, then fillers; of padding (None) fillers alone."""
    numbers: list[int] = []
    for row in rows:
        own = () if row is None else values(row)
        numbers += own
        numbers += [filler] * (count - len(own))
    return numbers


def _upload(arrays: Mapping[str, Sequence[float]], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """One copy to the device for all arrays, which does not wait for it."""
    values: list[float] = []
    for array in arrays.values():
        values += array
    pinned = device.type == "cuda" and torch.cuda.is_available()
    host = torch.tensor(values, dtype=dtype, pin_memory=pinned)
    sent = torch.empty(len(values), dtype=dtype, device=device).copy_(host, non_blocking=True)
    return dict(zip(arrays, sent.split_with_sizes([len(array) for array in arrays.values()]), strict=True))
