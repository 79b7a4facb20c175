"""Life signs of a worker that is busy: a thread that says every 200 ms that the process runs, and how far it has come.

The SDK tells from them a slow operation, whose count grows, from one that hangs. A library that holds the interpreter's
lock delays the thread, which the SDK does not mistake for a death: it asks ZeroMQ whether the link still stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_SECONDS = 0.2


class Heartbeat:
    """Calls `beat` with the request that is worked on. `beat` runs in another thread, and never outside of `during`."""

    def __init__(self, beat: Callable[[int], None], interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._beat = beat
        self._interval_seconds = interval_seconds
        self._request: int | None = None
        self._lock = threading.Lock()
        self._busy = threading.Event()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    @contextmanager
    def during(self, request: int) -> Iterator[None]:
        """Beats while an operation runs. When it returns, the last beat has been."""
        self._request = request
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()
            with self._lock:
                self._request = None

    def _run(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(self._interval_seconds)
            with self._lock:
                if self._request is not None:
                    self._beat(self._request)
