"""A worker that misbehaves on purpose, as planned by `--faults JSON`: the SDK's tests watch how that is survived.

The plan comes from the command line alone, never over the wire. `FaultyServer` wraps the server where an operation
begins and where a reply leaves; the main path knows nothing of faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from zipar_testing.faults.effects import STRIKES, poison_logits_, spoilt_messages
from zipar_testing.faults.plan import Fault, FaultInjector, FaultPlan, Phase
from zipar_worker.execute.contract import MakeExecutor, ProgressReporter
from zipar_worker.serve.conversation import Server
from zipar_worker.serve.operations import Answer, Arrays, Operation
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.serve.sequences import HeldSequence
from zipar_worker.wire.link import Link
from zipar_worker.wire.protocol import DecodeImage, Done, EncodePrompt, Fatal, Forward, Progress, PulseReply, Reply

IDLE_MS = 200
"""A wait this long without sequences counts as idle."""


class FaultyServer(Server):
    """A `Server` that misbehaves as planned."""

    def __init__(self, make_executor: MakeExecutor, *, plan: FaultPlan, **options: Any) -> None:
        super().__init__(make_executor, **options)
        self.injector = FaultInjector(plan)
        self.reply_fault: Fault | None = None
        """Strikes the next reply that ends an operation."""

    def serve(self, link: Link, credentials: Credentials) -> int:
        self.link = link
        self._meet("start")
        return super().serve(link, credentials)

    def leaves_before_next(self) -> bool:
        if self.operations.forward_count > 0 and self._held() == {} and not self.link.wait(IDLE_MS):
            self._meet("idle")
            if self.reply_fault is not None:
                self.reply(0, Answer(Done))
        return super().leaves_before_next()

    def perform(self, request: Operation, arrays: Arrays) -> Answer:
        phase = self._phase_of(request, arrays)
        if phase is not None:
            self._meet(phase, len(request.sequences) if isinstance(request, Forward) else 1)
        return super().perform(request, arrays)

    def progress_reporter(self, request: int) -> ProgressReporter:
        report = super().progress_reporter(request)

        def report_and_meet(phase: str, completed: float, total: float | None, unit: str) -> None:
            report(phase, completed, total, unit)
            self._meet("load")

        return report_and_meet

    def send(self, reply: Reply, arrays: Arrays = ()) -> None:
        fault = self.reply_fault
        if fault is None or isinstance(reply, Progress | PulseReply | Fatal):
            super().send(reply, arrays)
            return
        self.reply_fault = None
        self.injector.note(fault)
        messages = spoilt_messages(fault, reply, arrays)
        with self.sending:
            for parts in messages:
                self.link.send(parts)

    def _phase_of(self, request: Operation, arrays: Arrays) -> Phase | None:
        if isinstance(request, EncodePrompt):
            return "encode-prompt"
        if isinstance(request, DecodeImage):
            return "decode-image"
        return self._forward_phase(request, arrays) if isinstance(request, Forward) else None

    def _forward_phase(self, request: Forward, arrays: Arrays) -> Phase:
        frames = {frame.name: array.data for frame, array in zip(request.frames, arrays, strict=True)}
        if not any(frames["wants"]):  # only what rebuilds K/V draws nothing at all
            return "rebuild"
        held = self._held() or {}
        query = 0
        for entry in request.sequences:
            slots = frames["slots"][query : query + entry.query_count]
            query += entry.query_count
            if entry.sequence in held and min(slots) < held[entry.sequence].prompt_length:
                return "prefill"
        return "decode"

    def _held(self) -> Mapping[int, HeldSequence] | None:
        """None before a model is loaded."""
        session = self.operations.session
        return None if session is None else session.registry.held

    def _meet(self, phase: Phase, sequence_count: int = 1) -> None:
        """Lets the fault strike that is due in this phase, at once or in the phase's reply."""
        fault = self.injector.due(phase, sequence_count)
        if fault is None:
            return
        strike = STRIKES.get(fault.fault)
        if strike is not None:
            self.injector.note(fault)
            strike(fault)
        elif fault.fault == "nan-logits":
            self.injector.note(fault)
            assert self.operations.session is not None
            poison_logits_(self.operations.session.executor)
        elif fault.fault == "silence":
            self.injector.note(fault)
            self.say_nothing()
        else:
            self.reply_fault = fault

    def say_nothing(self) -> NoReturn:
        """Connected, alive, and without a word."""
        self.link.connect()
        while True:
            self.link.receive()
