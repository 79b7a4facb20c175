"""How one forward lies in tensors: built on the host from plain numbers, sent up in two copies.

A batch row is one branch of one sequence. Rows are in the order of their cache rows, so that the cache can usually be
read in place. Sequences with fewer queries than others are padded with queries that write to the trash slot and see one
slot. B batch rows, Q queries per row, R runs per row, W wanted queries, D draws, P prompt queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zipar_worker.families.family import Prompt
from zipar_worker.serve.forward_batch import ForwardBatch
from zipar_worker.wire.protocol import WANT_DISTRIBUTION, WANT_DRAW, Forward, ForwardSequence


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


@dataclass(frozen=True, slots=True)
class StepLayout:
    """A forward as plain numbers. `integers` and `floats` hold the arrays of `StepTensors`, one after the other."""

    cache_rows: tuple[int, ...]
    query_count: int
    key_count: int
    run_count: int
    has_steps: bool
    wanted_count: int
    logit_row_count: int
    draw_count: int
    distribution_count: int
    prompts: tuple[Tensor, ...]
    prompt_query_count: int
    largest_top_k: int
    same_top_k: bool
    some_top_p: bool
    some_greedy: bool
    all_greedy: bool
    integers: list[int]
    floats: list[float]


@dataclass(frozen=True, slots=True)
class StepTensors:
    """A forward on the device. int64 unless it says otherwise.

    tokens, slots, positions: [B, Q]; paddings, cache_rows: [B]; runs: [B, R, 2];
    steps: [B, Q], see `visible_slots`, None in an ordinary forward;
    logit_rows: [L] into B * Q, the conditional rows of all wanted queries first;
    unconditional: [W] into those L, the query itself where it has one branch; top_k: [W];
    draws: [D] and distributions: [N] into the wanted queries;
    prompt_sources: [P] into the concatenated prompts, prompt_destinations: [P] into B * Q;
    guidance_scales, temperatures, top_p: float64 [W]; uniforms: float64 [D].
    """

    tokens: Tensor
    slots: Tensor
    positions: Tensor
    paddings: Tensor
    cache_rows: Tensor
    runs: Tensor
    steps: Tensor | None
    logit_rows: Tensor
    unconditional: Tensor
    top_k: Tensor
    draws: Tensor
    distributions: Tensor
    prompt_sources: Tensor
    prompt_destinations: Tensor
    guidance_scales: Tensor
    temperatures: Tensor
    top_p: Tensor
    uniforms: Tensor


@dataclass(frozen=True, slots=True)
class _Row:
    """One branch of one sequence in this forward."""

    cache_row: int
    padding: int
    position_offset: int
    sequence: int
    branch: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What one sequence brings to this forward."""

    settings: ForwardSequence
    held: HeldPrompt
    tokens: list[int]
    slots: list[int]
    runs: list[int]
    wants: list[int]
    steps: list[int]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The W queries that want something, in query order; see `StepTensors` for the index lists."""

    settings: list[ForwardSequence]
    logit_rows: list[int]
    unconditional: list[int]
    draws: list[int]
    distributions: list[int]


def lay_out_step(
    request: Forward, batch: ForwardBatch, held: Mapping[int, HeldPrompt], trash_slot: int, padding: Padding
) -> StepLayout:
    """Lays out a checked forward of held sequences."""
    parts = _split(request, batch, held)
    rows = sorted(
        (
            _Row(part.held.cache_rows[index], branch.padding, branch.position_offset, sequence, index)
            for sequence, part in enumerate(parts)
            for index in part.settings.branches
            for branch in (part.held.prompt.branches[index],)
        ),
        key=lambda row: row.cache_row,
    )
    query_count = _rounded_up(max(len(part.slots) for part in parts), padding.queries)
    run_count = _rounded_up(max(len(part.runs) for part in parts) // 2, padding.runs)
    key_count = _rounded_up(max(part.runs[-1] for part in parts), padding.keys)
    row_starts = {(row.sequence, row.branch): index * query_count for index, row in enumerate(rows)}

    wanted = _wanted_queries(parts, row_starts)
    prompts, prompt_sources, prompt_destinations = _prompt_queries(parts, row_starts)
    settings = wanted.settings

    integers: list[int] = []
    for row in rows:
        integers += _padded(parts[row.sequence].tokens, query_count, 0)
    for row in rows:
        integers += _padded(parts[row.sequence].slots, query_count, trash_slot)
    for row in rows:
        positions = [max(slot - row.position_offset, 0) for slot in parts[row.sequence].slots]
        integers += _padded(positions, query_count, 0)
    integers += [row.padding for row in rows]
    integers += [row.cache_row for row in rows]
    for row in rows:
        integers += _padded(parts[row.sequence].runs, 2 * run_count, 0)
    has_steps = len(batch.steps) > 0
    for row in rows if has_steps else ():
        integers += _padded(parts[row.sequence].steps, query_count, 0)
    integers += wanted.logit_rows + wanted.unconditional
    integers += [setting.top_k for setting in settings]
    integers += wanted.draws + wanted.distributions + prompt_sources + prompt_destinations
    floats = [setting.guidance_scale for setting in settings]
    floats += [setting.temperature for setting in settings]
    floats += [setting.top_p for setting in settings]
    floats += batch.uniforms.tolist()
    return StepLayout(
        cache_rows=tuple(row.cache_row for row in rows),
        query_count=query_count,
        key_count=key_count,
        run_count=run_count,
        has_steps=has_steps,
        wanted_count=len(settings),
        logit_row_count=len(wanted.logit_rows),
        draw_count=len(wanted.draws),
        distribution_count=len(wanted.distributions),
        prompts=prompts,
        prompt_query_count=len(prompt_sources),
        largest_top_k=max((setting.top_k for setting in settings), default=0),
        same_top_k=len({setting.top_k for setting in settings}) == 1,
        some_top_p=any(setting.top_p < 1 for setting in settings),
        some_greedy=any(setting.temperature == 0 for setting in settings),
        all_greedy=all(setting.temperature == 0 for setting in settings),
        integers=integers,
        floats=floats,
    )


def upload(layout: StepLayout, device: torch.device) -> StepTensors:
    """Two copies to the device, neither of which waits for it."""
    row_count = len(layout.cache_rows)
    grid = row_count * layout.query_count
    wanted = layout.wanted_count
    draws = layout.draw_count
    prompts = layout.prompt_query_count
    integer_sizes = (
        *(grid, grid, grid),
        *(row_count, row_count, row_count * layout.run_count * 2, grid if layout.has_steps else 0),
        *(layout.logit_row_count, wanted, wanted),
        *(draws, layout.distribution_count, prompts, prompts),
    )
    integers = _to_device(layout.integers, torch.int64, device).split_with_sizes(integer_sizes)
    floats = _to_device(layout.floats, torch.float64, device).split_with_sizes((wanted, wanted, wanted, draws))
    shape = (row_count, layout.query_count)
    return StepTensors(
        tokens=integers[0].view(shape),
        slots=integers[1].view(shape),
        positions=integers[2].view(shape),
        paddings=integers[3],
        cache_rows=integers[4],
        runs=integers[5].view(row_count, layout.run_count, 2),
        steps=integers[6].view(shape) if layout.has_steps else None,
        logit_rows=integers[7],
        unconditional=integers[8],
        top_k=integers[9],
        draws=integers[10],
        distributions=integers[11],
        prompt_sources=integers[12],
        prompt_destinations=integers[13],
        guidance_scales=floats[0],
        temperatures=floats[1],
        top_p=floats[2],
        uniforms=floats[3],
    )


def _split(request: Forward, batch: ForwardBatch, held: Mapping[int, HeldPrompt]) -> list[_Part]:
    parts: list[_Part] = []
    query = run = 0
    for sequence in request.sequences:
        queries = slice(query, query + sequence.query_count)
        runs = slice(2 * run, 2 * (run + sequence.run_count))
        parts.append(
            _Part(
                settings=sequence,
                held=held[sequence.sequence],
                tokens=batch.tokens[queries].tolist(),
                slots=batch.slots[queries].tolist(),
                runs=batch.runs[runs].tolist(),
                wants=batch.wants[queries].tolist(),
                steps=batch.steps[queries].tolist(),
            )
        )
        query, run = queries.stop, run + sequence.run_count
    return parts


def _wanted_queries(parts: Sequence[_Part], row_starts: Mapping[tuple[int, int], int]) -> _Wanted:
    wanted = [
        (sequence, query, want)
        for sequence, part in enumerate(parts)
        for query, want in enumerate(part.wants)
        if want in (WANT_DRAW, WANT_DISTRIBUTION)
    ]
    logit_rows = [row_starts[sequence, parts[sequence].settings.branches[0]] + query for sequence, query, _ in wanted]
    unconditional: list[int] = []
    for index, (sequence, query, _) in enumerate(wanted):
        branches = parts[sequence].settings.branches
        start = row_starts[sequence, branches[1]] if len(branches) > 1 else None
        unconditional.append(index if start is None else len(logit_rows))
        if start is not None:
            logit_rows.append(start + query)
    return _Wanted(
        settings=[parts[sequence].settings for sequence, _, _ in wanted],
        logit_rows=logit_rows,
        unconditional=unconditional,
        draws=[index for index, (_, _, want) in enumerate(wanted) if want == WANT_DRAW],
        distributions=[index for index, (_, _, want) in enumerate(wanted) if want == WANT_DISTRIBUTION],
    )


def _prompt_queries(
    parts: Sequence[_Part], row_starts: Mapping[tuple[int, int], int]
) -> tuple[tuple[Tensor, ...], list[int], list[int]]:
    """Queries whose slots lie in the prompt: the prompts they need, where in those, and where in the batch."""
    prompts: list[Tensor] = []
    sources: list[int] = []
    destinations: list[int] = []
    prompt_start = 0
    for sequence, part in enumerate(parts):
        prompt = part.held.prompt
        inside = [(query, slot) for query, slot in enumerate(part.slots) if slot < prompt.length]
        if not inside:
            continue
        for branch in part.settings.branches:
            sources += [prompt_start + branch * prompt.length + slot for _, slot in inside]
            destinations += [row_starts[sequence, branch] + query for query, _ in inside]
        prompts.append(prompt.embeddings)
        prompt_start += len(prompt.branches) * prompt.length
    return tuple(prompts), sources, destinations


def _padded(values: list[int], count: int, filler: int) -> list[int]:
    return values + [filler] * (count - len(values))


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _to_device(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    pinned = device.type == "cuda" and torch.cuda.is_available()
    host = torch.tensor(values, dtype=dtype, pin_memory=pinned)
    return torch.empty(len(values), dtype=dtype, device=device).copy_(host, non_blocking=True)
