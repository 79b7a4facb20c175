"""When a worker that is asked to leave ends."""

from __future__ import annotations

import pytest

from zipar_worker.serve.leave import QUIET_SECONDS, Leave


def test_nobody_leaves_unasked() -> None:
    assert not Leave(0).is_due(held_count=0, quiet_seconds=1e9)


@pytest.mark.parametrize(
    ("elapsed", "held_count", "quiet_seconds", "is_due"),
    [
        (1.0, 0, QUIET_SECONDS, True),
        (1.0, 0, QUIET_SECONDS / 2, False),  # pixels may be asked for
        (1.0, 2, 1e9, False),
        (9.9, 2, 0.0, False),
        (10.0, 2, 0.0, True),
    ],
)
def test_it_ends_once_it_holds_nothing_or_its_time_is_over(
    elapsed: float, held_count: int, quiet_seconds: float, is_due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 50.0
    monkeypatch.setattr("zipar_worker.serve.leave.time.monotonic", lambda: now)
    leave = Leave(10.0)
    leave.ask()
    now += elapsed
    leave.ask()  # again: the time runs from the first
    assert leave.is_due(held_count=held_count, quiet_seconds=quiet_seconds) is is_due
