"""The one exception of the worker whose code travels over the wire."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
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
    "python-environment",
    "internal",
]

Detail = str | int | float | bool | None


class WorkerError(Exception):
    """A failure that the SDK can act upon; the worker goes on after it.

    `message` says what failed, what was expected, what was received and what to do. `details` holds the figures that
    belong to it, e.g. bytes wanted and bytes free.
    """

    def __init__(self, code: ErrorCode, message: str, details: Mapping[str, Detail] | None = None) -> None:
        # Names of tensors and files are in it, which strangers chose.
        self.message = harmless(message)
        super().__init__(self.message)
        self.code: ErrorCode = code
        self.details: dict[str, Detail] = dict(details or {})


class FatalWorkerError(WorkerError):
    """A failure after which the worker cannot go on."""


def harmless(text: str) -> str:
    """Text of a stranger on one line, without what a terminal would obey: control characters, changes of direction."""
    text = re.sub(r"[\t\r\n]+", " ", text)
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_obeyed(character) else character for character in text)


def _is_obeyed(character: str) -> bool:
    # The joiners of Indic scripts and of pictures are format characters too.
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\u200c\u200d"


def listed(names: Collection[str], count: int = 4) -> str:
    """The first of some names, for a message."""
    shown = ", ".join(list(names)[:count])
    return f"{shown}, ..." if len(names) > count else shown


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
