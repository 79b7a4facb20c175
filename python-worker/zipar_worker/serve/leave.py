"""A worker that is asked to leave: it finishes what it holds, within its time."""

from __future__ import annotations

import time

QUIET_SECONDS = 1.0
"""How long nothing may have come from the engine before a worker that holds no sequences ends: pixels are asked for
after the sequence of an image was released.
"""


class Leave:
    """Whether, and since when, this worker is asked to leave. Signal handlers and threads may ask."""

    def __init__(self, seconds: float) -> None:
        """seconds: that images may take, from the moment when it is asked; 0 is at once."""
        self._seconds = seconds
        self._deadline: float | None = None

    def ask(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds

    @property
    def is_asked(self) -> bool:
        return self._deadline is not None

    def is_due(self, *, held_count: int, quiet_seconds: float) -> bool:
        """Whether to end now. held_count: of sequences; quiet_seconds: since the engine's last message."""
        if self._deadline is None:
            return False
        return time.monotonic() >= self._deadline or (held_count == 0 and quiet_seconds >= QUIET_SECONDS)
