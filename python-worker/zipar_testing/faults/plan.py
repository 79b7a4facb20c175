"""What `--faults JSON` may plan: which fault strikes, in which phase, when, and in which incarnation of the worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

Phase: TypeAlias = Literal["start", "load", "encode-prompt", "prefill", "decode", "rebuild", "decode-image", "idle"]
"""`prefill`: a forward that feeds prompt slots; `rebuild`: one that feeds the queries of several earlier forwards;
`idle`: a loaded worker that has decoded, holds no sequence and waits."""

ProcessFault: TypeAlias = Literal[
    "die",
    "stop",
    "hang",
    "hang-with-lock",
    "segfault",
    "exit",
    "device-assert",
    "out-of-memory",
    "slow",
    "flood",
    "leave",
    "split",
]
"""What happens before a phase does its work. `hang-with-lock` holds the interpreter's lock: no thread runs.
`slow` takes `ms` and shows progress. One that dials in is told to `leave`; `split` is slow, too, while whoever reads
the journal breaks its network."""
ReplyFault: TypeAlias = Literal["corrupt-header", "wrong-epoch", "wrong-request", "duplicate-reply", "late-reply"]
"""What happens to the reply that ends a phase."""
FrameFault: TypeAlias = Literal["corrupt-frame", "truncate-frame", "wrong-dtype", "wrong-shape", "reshape"]
"""What happens to the arrays of a reply. `wrong-shape` disagrees with the bytes, `reshape` agrees with them."""
ForwardFault: TypeAlias = Literal["nan-logits", "nan-probabilities"]
"""`nan-logits` come from the model, before the worker's own check; `nan-probabilities` lie in the reply."""
HelloFault: TypeAlias = Literal["silence", "wrong-token", "wrong-version"]
FaultName: TypeAlias = ProcessFault | ReplyFault | FrameFault | ForwardFault | HelloFault

_FORWARDS: tuple[Phase, ...] = ("prefill", "decode", "rebuild")
_LOADED: tuple[Phase, ...] = ("encode-prompt", *_FORWARDS, "decode-image")

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Fault(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One planned fault: in the incarnations `first_incarnation .. last_incarnation` of an engine's worker, at
    occurrences `nth .. nth + times - 1` of a phase, counted anew in each incarnation."""

    fault: FaultName
    at: Phase
    nth: Positive = 1
    times: Positive = 1
    first_incarnation: Positive = 1
    last_incarnation: Positive = 1
    """By default the first incarnation alone misbehaves; a restarted worker behaves."""
    ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 500
    """How long `slow` and `late-reply` take."""
    rank: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Which process is met by a `die` or a `stop` where a model is split over several: 0 is the one that notices it."""
    more_than: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Only forwards of more sequences than this are met."""


class FaultPlan(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What `--faults JSON` says."""

    faults: tuple[Fault, ...]
    incarnation: Positive = 1
    """How often the engine has started a worker, this one included: tests count, epochs are shared by all engines."""
    journal: str | None = None
    """File to which each fault appends a line of JSON as it strikes."""


def decode_plan(text: str) -> FaultPlan:
    """Raises `ValueError` for anything but a plan whose faults can strike where they are planned."""
    try:
        plan = msgspec.json.decode(text, type=FaultPlan)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"--faults: {error}") from error
    for fault in plan.faults:
        possible = phases_of(fault.fault)
        if fault.at not in possible:
            raise ValueError(f"--faults: {fault.fault} at {fault.at}; expected one of {', '.join(possible)}")
    return plan


def phases_of(fault: FaultName) -> tuple[Phase, ...]:
    """Where a fault can strike."""
    if fault in get_args(HelloFault):
        return ("start",)
    if fault in get_args(ForwardFault):
        return _FORWARDS
    if fault in get_args(FrameFault):
        return (*_FORWARDS, "decode-image")
    if fault in ("device-assert", "out-of-memory"):
        return ("load", *_LOADED)
    if fault in ("wrong-epoch", "duplicate-reply", "late-reply"):
        return ("start", "load", *_LOADED)
    if fault == "wrong-request":
        return ("load", *_LOADED, "idle")
    if fault == "slow":
        return ("start", "load", *_LOADED)
    if fault in ("leave", "split"):
        return (*_LOADED, "idle")
    return ("start", "load", *_LOADED, "idle")


class FaultInjector:
    """Counts the occurrences of each phase, tells which fault is due, and keeps the journal."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._counts: Counter[Phase] = Counter()

    def due(self, phase: Phase, sequence_count: int = 1) -> Fault | None:
        """The fault that strikes now, if any; call once per occurrence."""
        self._counts[phase] += 1
        for fault in self._plan.faults:
            if (
                fault.at == phase
                and fault.first_incarnation <= self._plan.incarnation <= fault.last_incarnation
                and fault.nth <= self._counts[phase] < fault.nth + fault.times
                and sequence_count > fault.more_than
            ):
                return fault
        return None

    def note(self, fault: Fault) -> None:
        """Writes that `fault` strikes; `time` is in ms since 1970, as `Date.now()`."""
        if self._plan.journal is None:
            return
        entry = {"fault": fault.fault, "at": fault.at, "incarnation": self._plan.incarnation}
        with open(self._plan.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps({**entry, "time": time.time() * 1000}) + "\n")
