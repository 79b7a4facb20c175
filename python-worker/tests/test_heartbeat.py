"""Heartbeats come while an operation runs, and at no other time."""

from __future__ import annotations

import threading
import time

from zipar_worker.execute.progress_count import advance_, progress_count
from zipar_worker.serve.heartbeat import Heartbeat


def test_it_beats_with_the_request_while_an_operation_runs_from_another_thread() -> None:
    beats: list[tuple[int, str]] = []
    heartbeat = Heartbeat(
        lambda request: beats.append((request, threading.current_thread().name)), interval_seconds=0.01
    )
    with heartbeat.during(7):
        time.sleep(0.2)
    with heartbeat.during(8):
        time.sleep(0.2)
    assert {request for request, _ in beats} == {7, 8}
    assert {name for _, name in beats} == {"heartbeat"}
    assert len(beats) > 6
    assert beats == sorted(beats)


def test_no_beat_follows_the_end_of_an_operation_even_one_that_failed() -> None:
    is_over = False
    late: list[int] = []

    def beat(request: int) -> None:
        time.sleep(0.02)
        if is_over:
            late.append(request)

    heartbeat = Heartbeat(beat, interval_seconds=0.001)
    for request in range(20):
        try:
            with heartbeat.during(request):
                time.sleep(0.005)
                raise ValueError("broken")
        except ValueError:
            is_over = True
        time.sleep(0.003)
        is_over = False
    assert late == []


def test_short_operations_do_not_beat() -> None:
    beats: list[int] = []
    heartbeat = Heartbeat(beats.append, interval_seconds=0.5)
    for request in range(100):
        with heartbeat.during(request):
            pass
    time.sleep(0.7)
    assert beats == []


def test_the_count_grows() -> None:
    before = progress_count()
    advance_()
    assert progress_count() > before
