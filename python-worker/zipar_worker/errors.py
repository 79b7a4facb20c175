"""The one exception of the worker whose code travels over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ErrorCode = Literal[
    "protocol",
    "protocol-version",
    "bad-request",
    "prompt",
    "checkpoint",
    "device",
    "out-of-memory",
    "not-ready",
    "internal",
]

Detail = str | int | float | bool | None


class WorkerError(Exception):
    """A failure that the SDK can act upon; the worker goes on after it.

    `message` says what failed, what was expected, what was received and what to do. `details` holds the figures that
    belong to it, e.g. bytes wanted and bytes free.
    """

    def __init__(self, code: ErrorCode, message: str, details: Mapping[str, Detail] | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.details: dict[str, Detail] = dict(details or {})
