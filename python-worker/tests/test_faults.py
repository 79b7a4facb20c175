"""The plan of faults: what it accepts, and when a fault is due. What the faults do is seen from the SDK's side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from zipar_testing.faults.effects import STRIKES, spoilt_messages
from zipar_testing.faults.plan import (
    Fault,
    FaultInjector,
    FaultPlan,
    FrameFault,
    HelloFault,
    ProcessFault,
    ReplyFault,
    decode_plan,
    phases_of,
)
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.codec import describe_arrays, encode_reply
from zipar_worker.wire.protocol import PROTOCOL_VERSION, ForwardDone, Hello

ARRAYS = (
    Array("drawnTokens", "int32", (2,), view_as(bytes(8), "int32")),
    Array("drawnProbabilities", "float32", (1,), view_as(bytes(4), "float32")),
)
REPLY = ForwardDone(epoch=3, request=7, frames=describe_arrays(ARRAYS), warnings=())


def plan_of(*faults: dict[str, Any], incarnation: int = 1) -> FaultPlan:
    return decode_plan(json.dumps({"faults": faults, "incarnation": incarnation}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "faults"),
        ('{"faults": [{"fault": "sulk", "at": "decode"}]}', "sulk"),
        ('{"faults": [{"fault": "die", "at": "lunch"}]}', "lunch"),
        ('{"faults": [{"fault": "wrong-token", "at": "decode"}]}', "wrong-token at decode; expected one of start"),
        ('{"faults": [{"fault": "die", "at": "decode", "nth": 0}]}', "nth"),
        ('{"faults": [{"fault": "die", "at": "decode", "when": 3}]}', "when"),
    ],
)
def test_a_plan_that_cannot_come_true_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode_plan(text)


def test_the_program_says_in_one_sentence_what_is_wrong_with_a_plan() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "zipar_testing.faults", "--connect", "ipc:///nowhere", "--faults", "{}", "--stub", "{}"],
        cwd=Path(__file__).resolve().parents[1],
        input=b'{"token": "secret", "epoch": 1}\n',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"--faults: " in ended.stderr and b"Traceback" not in ended.stderr


def test_a_fault_strikes_at_its_occurrences_of_its_phase_and_nowhere_else() -> None:
    injector = FaultInjector(plan_of({"fault": "slow", "at": "decode", "nth": 2, "times": 2}))
    assert [injector.due("decode") is not None for _ in range(5)] == [False, True, True, False, False]
    assert injector.due("prefill") is None


def test_a_restarted_worker_does_not_repeat_a_fault_unless_the_plan_says_so() -> None:
    once = {"fault": "die", "at": "load"}
    assert FaultInjector(plan_of(once)).due("load") is not None
    assert FaultInjector(plan_of(once, incarnation=2)).due("load") is None
    assert FaultInjector(plan_of({**once, "lastIncarnation": 2}, incarnation=2)).due("load") is not None
    later = {**once, "firstIncarnation": 2, "lastIncarnation": 2}
    assert [FaultInjector(plan_of(later, incarnation=k)).due("load") is not None for k in (1, 2, 3)] == [
        False,
        True,
        False,
    ]


def test_a_fault_may_spare_small_forwards() -> None:
    injector = FaultInjector(plan_of({"fault": "out-of-memory", "at": "decode", "times": 9, "moreThan": 1}))
    assert injector.due("decode", sequence_count=1) is None
    assert injector.due("decode", sequence_count=2) is not None


def test_the_journal_has_a_line_for_each_strike(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    fault = Fault(fault="die", at="decode")
    injector = FaultInjector(FaultPlan(faults=(fault,), incarnation=4, journal=str(journal)))
    injector.note(fault)
    injector.note(fault)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(lines) == 2
    assert {key: lines[0][key] for key in ("fault", "at", "incarnation")} == {
        "fault": "die",
        "at": "decode",
        "incarnation": 4,
    }


def test_every_fault_of_the_process_has_an_effect_and_a_phase() -> None:
    assert set(STRIKES) == set(get_args(ProcessFault))
    assert all(phases_of(fault) for fault in STRIKES)


@pytest.mark.parametrize("name", [*get_args(ReplyFault), *get_args(FrameFault), "nan-probabilities"])
def test_every_fault_of_a_reply_changes_what_is_sent(name: str) -> None:
    sent = spoilt_messages(Fault(fault=name, at="decode", ms=0), REPLY, ARRAYS)  # type: ignore[arg-type]
    unspoilt = [bytes(part) for part in encode_reply(REPLY, ARRAYS)]
    differs = [[bytes(part) for part in message] for message in sent] != [unspoilt]
    assert differs == (name != "late-reply")


@pytest.mark.parametrize("name", ["wrong-token", "wrong-version"])
def test_every_fault_of_the_handshake_changes_the_hello(name: str) -> None:
    assert name in get_args(HelloFault)
    hello = Hello(epoch=1, protocol_version=PROTOCOL_VERSION, worker_version="1", pid=1, token="secret")
    ((spoilt,),) = spoilt_messages(Fault(fault=name, at="start"), hello, ())  # type: ignore[arg-type]
    assert spoilt != encode_reply(hello)[0]
