"""The arrays of a forward, checked against the held sequences before any executor sees them.

Pure Python on purpose: it runs in the hot path of every step, on some tens of numbers, before torch is needed. Checks
of a whole sequence use built-ins over lists; only a failed check looks for the culprit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import SequenceFeed
from zipar_worker.serve.sequences import HeldSequence
from zipar_worker.wire.arrays import Array
from zipar_worker.wire.protocol import WANT_DISTRIBUTION, WANT_DRAW, WANT_NONE, Forward, ForwardSequence, ModelCard


def check_forward(
    request: Forward, arrays: Sequence[Array], held: Mapping[int, HeldSequence], card: ModelCard, slot_count: int
) -> list[SequenceFeed]:
    """Validates a forward and deals its arrays out to its sequences.

    `arrays`: tokens, slots, wants, uniforms, runs, steps over all sequences, their types and numbers of dimensions
    checked. Raises `protocol` where counts and frames disagree, `bad-request` where a value is out of its range.
    """
    tokens, slots, wants, uniforms, runs, steps = [array.data for array in arrays]
    _check_counts(request, tokens, slots, wants, uniforms, runs)
    _check_steps(steps, len(tokens))
    want_bytes = wants.tobytes()
    token_bound = card.code_count + (card.row_end == "token")
    query = run = draw = 0
    feeds: list[SequenceFeed] = []
    seen: set[int] = set()
    for sequence in request.sequences:
        known = held.get(sequence.sequence)
        if known is None or sequence.sequence in seen:
            raise _unusable_sequence(sequence, known)
        seen.add(sequence.sequence)
        query_end = query + sequence.query_count
        run_end = run + sequence.run_count
        draw_end = draw + sequence.draw_count
        feed = SequenceFeed(
            settings=sequence,
            tokens=tokens[query:query_end].tolist(),
            slots=slots[query:query_end].tolist(),
            wants=want_bytes[query:query_end],
            uniforms=uniforms[draw:draw_end].tolist(),
            runs=runs[2 * run : 2 * run_end].tolist(),
            steps=steps[query:query_end].tolist(),
        )
        _check_branches(sequence, len(known.cache_rows))
        _check_slots(sequence, feed.slots, slot_count)
        _check_tokens(sequence, feed.tokens, feed.slots, known.prompt_length, token_bound)
        _check_runs(sequence, feed.runs, feed.slots, slot_count)
        _check_wants(sequence, feed.wants, feed.uniforms)
        feeds.append(feed)
        query, run, draw = query_end, run_end, draw_end
    return feeds


def _check_counts(
    request: Forward, tokens: memoryview, slots: memoryview, wants: memoryview, uniforms: memoryview, runs: memoryview
) -> None:
    query_count = sum([sequence.query_count for sequence in request.sequences])
    draw_count = sum([sequence.draw_count for sequence in request.sequences])
    run_count = sum([sequence.run_count for sequence in request.sequences])
    expected = (query_count, query_count, query_count, draw_count, 2 * run_count)
    received = (len(tokens), len(slots), len(wants), len(uniforms), len(runs))
    if received != expected:
        raise WorkerError(
            "protocol",
            f"forward: the sequences count {query_count} queries, {draw_count} draws and {run_count} runs, so that "
            f"tokens, slots, wants, uniforms and runs need {expected} elements; received {received}",
        )


def _check_steps(steps: memoryview, query_count: int) -> None:
    if len(steps) != query_count:
        raise WorkerError("protocol", f"forward: expected {query_count} steps, received {len(steps)}")
    if min(steps) < 0:
        raise WorkerError("bad-request", f"forward: expected steps from 0 on, received {min(steps)}")


def _check_branches(sequence: ForwardSequence, branch_count: int) -> None:
    branches = sequence.branches
    if branches[-1] >= branch_count or any(a >= b for a, b in pairwise(branches)):
        raise WorkerError(
            "bad-request",
            f"forward: sequence {sequence.sequence} has {branch_count} branches; expected ascending indices below "
            f"that, received {list(branches)}",
        )


def _unusable_sequence(sequence: ForwardSequence, known: HeldSequence | None) -> WorkerError:
    reason = "listed twice" if known is not None else "unknown: its prompt was never encoded, or it was released"
    return WorkerError("bad-request", f"forward: sequence {sequence.sequence} is {reason}")


def _check_slots(sequence: ForwardSequence, slots: list[int], slot_count: int) -> None:
    if min(slots) < 0 or max(slots) >= slot_count:
        slot = next(slot for slot in slots if not 0 <= slot < slot_count)
        raise _out_of_range(sequence, "slot", slot, f"0..{slot_count - 1}")
    if len(set(slots)) != len(slots):
        slot = next(slot for slot in slots if slots.count(slot) > 1)
        raise WorkerError("bad-request", f"forward: sequence {sequence.sequence} feeds slot {slot} twice")


def _check_tokens(
    sequence: ForwardSequence, tokens: list[int], slots: list[int], prompt_length: int, token_bound: int
) -> None:
    if min(tokens) < 0 or max(tokens) >= token_bound:
        token = next(token for token in tokens if not 0 <= token < token_bound)
        raise _out_of_range(sequence, "token", token, f"0..{token_bound - 1}")
    if min(slots) < prompt_length:
        for token, slot in zip(tokens, slots, strict=True):
            if slot < prompt_length and token != 0:
                raise WorkerError(
                    "bad-request",
                    f"forward: sequence {sequence.sequence} feeds token {token} at slot {slot}, inside the prompt of "
                    f"{prompt_length}; expected token 0, since prompt slots are fed from the held prompt",
                )


def _check_runs(sequence: ForwardSequence, runs: list[int], slots: list[int], slot_count: int) -> None:
    """Runs ascend, are disjoint and not empty, lie within the cache row, and cover every slot of the forward."""
    firsts = runs[0::2]
    ends = runs[1::2]
    previous_end = 0
    for first, end in zip(firsts, ends, strict=True):
        if not previous_end <= first < end:
            raise WorkerError(
                "bad-request",
                f"forward: sequence {sequence.sequence} has the run [{first}, {end}) after a run that ends at "
                f"{previous_end}; expected runs that ascend, are disjoint and not empty",
            )
        previous_end = end
    if previous_end > slot_count:
        raise _out_of_range(sequence, "end of a run", previous_end, f"1..{slot_count}")
    for slot in slots:
        position = bisect_right(firsts, slot)
        if position == 0 or slot >= ends[position - 1]:
            raise WorkerError(
                "bad-request",
                f"forward: sequence {sequence.sequence} feeds slot {slot}, which none of its written runs covers",
            )


def _check_wants(sequence: ForwardSequence, wants: bytes, uniforms: Sequence[float]) -> None:
    draw_count = wants.count(WANT_DRAW)
    if draw_count + wants.count(WANT_NONE) + wants.count(WANT_DISTRIBUTION) != len(wants):
        raise _out_of_range(sequence, "want", max(wants), f"{WANT_NONE}..{WANT_DISTRIBUTION}")
    if draw_count != len(uniforms):
        raise WorkerError(
            "bad-request",
            f"forward: sequence {sequence.sequence} wants {draw_count} draws but brings {len(uniforms)} uniforms",
        )
    for uniform in uniforms:
        if not 0.0 <= uniform < 1.0:
            raise _out_of_range(sequence, "uniform", uniform, "[0, 1)")


def _out_of_range(sequence: ForwardSequence, what: str, received: float, expected: str) -> WorkerError:
    return WorkerError(
        "bad-request",
        f"forward: sequence {sequence.sequence} has {what} {received}; expected one in {expected}",
    )
