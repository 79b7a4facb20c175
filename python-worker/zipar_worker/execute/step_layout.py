"""How one forward lies in tensors: named arrays of plain numbers on the host, sent to the device in two copies.

A batch row is one branch of one sequence. Rows are in the order of their cache rows, so that the cache can usually be
read in place. Sequences with fewer queries than others are padded with queries that write to the trash slot and see one
slot. B batch rows, Q queries per row, R runs per row, W wanted queries, D draws, N distributions, P prompt queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from zipar_worker.execute.contract import PromptBranch, SequenceFeed
from zipar_worker.execute.sampling import FilterSettings
from zipar_worker.families.description import Prompt
from zipar_worker.wire.protocol import WANT_DISTRIBUTION, WANT_DRAW, WANT_NONE, ForwardSequence


@dataclass(frozen=True, slots=True)
class HeldPrompt:
    """What the executor keeps of a sequence."""

    prompt: Prompt
    cache_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Padding:
    """Multiples to which counts are rounded up, so that a GPU sees few different shapes. 1 pads nothing."""

    queries: int = 1
    keys: int = 1
    runs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A forward on the device. Tensors are int64 unless it says otherwise.

    cache_rows: the B rows of the K/V pool, cache_row_indices: [B] the same on the device; key_count: how many slots of
    each are read;
    tokens, slots, positions, steps: [B, Q]; paddings: [B]; runs: [B, R, 2];
    prompts: [prompt slots, dim] in the model's type, None where no query lies in a prompt;
    prompt_sources: [P] into these, prompt_destinations: [P] into B * Q;
    logit_rows: [L] into B * Q, the conditional rows of all wanted queries first;
    unconditional: [W] into those L, the query itself where it has one branch; guidance_scales: float64 [W];
    draws: [D] and distributions: [N] into the wanted queries; uniforms: float64 [D].
    """

    cache_rows: tuple[int, ...]
    cache_row_indices: Tensor
    key_count: int
    tokens: Tensor
    slots: Tensor
    positions: Tensor
    paddings: Tensor
    runs: Tensor
    steps: Tensor
    prompts: Tensor | None
    prompt_sources: Tensor
    prompt_destinations: Tensor
    logit_rows: Tensor
    unconditional: Tensor
    guidance_scales: Tensor
    filters: FilterSettings
    draws: Tensor
    distributions: Tensor
    uniforms: Tensor


class _HostArray(NamedTuple):
    """Numbers on their way to the device, and the shape that they have there, if not one dimension."""

    values: Sequence[float]
    shape: tuple[int, ...] | None = None


class _Row(NamedTuple):
    """One branch of one sequence in this forward."""

    cache_row: int
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
    *,
    trash_slot: int,
    padding: Padding,
    device: torch.device,
) -> Step:
    """Lays out a forward of held sequences and sends it to the device, without waiting for that."""
    rows = sorted(_batch_rows(feeds, held), key=lambda row: row.cache_row)
    query_count = _rounded_up(max(len(feed.slots) for feed in feeds), padding.queries)
    run_count = _rounded_up(max(len(feed.runs) for feed in feeds) // 2, padding.runs)
    first_queries = {row.cache_row: index * query_count for index, row in enumerate(rows)}
    prompts, prompt_sources, prompt_destinations = _prompt_queries(feeds, held, first_queries)
    wanted = _wanted_queries(feeds, held, first_queries)
    logit_rows, unconditional = _logit_rows(wanted)
    settings = [query.settings for query in wanted]

    by_row = partial(_by_row, rows)
    integers = {
        "cache_row_indices": _HostArray([row.cache_row for row in rows]),
        "tokens": by_row(lambda row: row.feed.tokens, query_count),
        "slots": by_row(lambda row: row.feed.slots, query_count, filler=trash_slot),
        "positions": by_row(_positions, query_count),
        "paddings": _HostArray([row.branch.padding for row in rows]),
        "runs": by_row(lambda row: row.feed.runs, run_count, 2),
        "steps": by_row(lambda row: row.feed.steps, query_count),
        "prompt_sources": _HostArray(prompt_sources),
        "prompt_destinations": _HostArray(prompt_destinations),
        "logit_rows": _HostArray(logit_rows),
        "unconditional": _HostArray(unconditional),
        "top_k": _HostArray([setting.top_k for setting in settings]),
        "draws": _HostArray([index for index, query in enumerate(wanted) if query.want == WANT_DRAW]),
        "distributions": _HostArray([index for index, query in enumerate(wanted) if query.want == WANT_DISTRIBUTION]),
    }
    floats = {
        "guidance_scales": _HostArray([setting.guidance_scale for setting in settings]),
        "temperatures": _HostArray([setting.temperature for setting in settings]),
        "top_p": _HostArray([setting.top_p for setting in settings]),
        "uniforms": _HostArray([uniform for feed in feeds for uniform in feed.uniforms]),
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
    return Step(
        cache_rows=tuple(row.cache_row for row in rows),
        key_count=_rounded_up(max(feed.runs[-1] for feed in feeds), padding.keys),
        prompts=prompts,
        filters=filters,
        **tensors,
    )


def _batch_rows(feeds: Sequence[SequenceFeed], held: Mapping[int, HeldPrompt]) -> list[_Row]:
    rows: list[_Row] = []
    for feed in feeds:
        sequence = held[feed.settings.sequence]
        for index in feed.settings.branches:
            rows.append(_Row(sequence.cache_rows[index], sequence.prompt.branches[index], feed))
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


def _by_row(rows: Sequence[_Row], values: Callable[[_Row], list[int]], *size: int, filler: int = 0) -> _HostArray:
    """[B, *size], where the values of a row come first and fillers follow."""
    count = prod(size)
    numbers: list[int] = []
    for row in rows:
        own = values(row)
        numbers += own
        numbers += [filler] * (count - len(own))
    return _HostArray(numbers, (len(rows), *size))


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _upload(arrays: Mapping[str, _HostArray], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """One copy to the device for all arrays, which does not wait for it."""
    values: list[float] = []
    for array in arrays.values():
        values += array.values
    pinned = device.type == "cuda" and torch.cuda.is_available()
    host = torch.tensor(values, dtype=dtype, pin_memory=pinned)
    sent = torch.empty(len(values), dtype=dtype, device=device).copy_(host, non_blocking=True)
    parts = sent.split_with_sizes([len(array.values) for array in arrays.values()])
    return {
        name: part if array.shape is None else part.view(array.shape)
        for (name, array), part in zip(arrays.items(), parts, strict=True)
    }
