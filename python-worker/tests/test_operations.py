"""What the server makes of what an executor says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wire_messages import EPOCH, Entry, Query, encode_prompt, forward, init, pack

from zipar_worker.execute.contract import ForwardResult, SequenceFeed
from zipar_worker.serve.operations import Answer, Operations
from zipar_worker.stub.executor import StubExecutor, StubOptions
from zipar_worker.wire.codec import decode_request
from zipar_worker.wire.protocol import WARNING_CHARACTERS, ForwardDone


class WarningExecutor(StubExecutor):
    def forward(self, feeds: Sequence[SequenceFeed]) -> ForwardResult:
        return replace(super().forward(feeds), warnings=("graphs are turned off: " + "why " * WARNING_CHARACTERS,))


def test_what_a_forward_has_to_say_to_the_user_goes_with_its_answer_as_far_as_it_fits() -> None:
    operations = Operations(lambda _: WarningExecutor(StubOptions()), "auto", lambda text: None)

    def perform(parts: Sequence[bytes]) -> Answer:
        decoded: Any = decode_request(parts, EPOCH)
        return operations.perform(decoded.request, decoded.arrays, lambda phase, completed, total, unit: None)

    perform(pack(init(1)))
    perform(pack(encode_prompt(2, 7, 4, 6)))
    done = perform(forward(3, [Entry(7, [Query(0, 0, 1)], [(0, 1)], [0.9])])).make(epoch=EPOCH, request=3, frames=())
    assert isinstance(done, ForwardDone)
    (warning,) = done.warnings
    assert warning.startswith("graphs are turned off: why") and len(warning) == WARNING_CHARACTERS
