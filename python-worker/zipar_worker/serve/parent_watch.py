"""The worker never outlives its parent: it ends when its stdin does, and on Linux the kernel ends it if need be.

The watcher is a thread that ends the process with `os._exit`, so that it works while a model is loading and while a
kernel runs. A C library that holds the interpreter's lock delays the thread; the kernel's signal is not delayed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from zipar_worker.wire.protocol import TOKEN_CHARACTERS, Counter

FIRST_LINE_BYTES = 4096
EXIT_PARENT_GONE = 0
"""A closed stdin is the parent's last word, whether it died or gave the worker up; either way nothing failed here."""

_PARENT_CHECK_SECONDS = 0.1
_STDIN = 0
_PR_SET_PDEATHSIG = 1


class Credentials(NamedTuple):
    """What the parent says on the first line of stdin. `token` proves to it who dials in."""

    token: str
    epoch: int


class _FirstLine(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    epoch: Counter


def die_with_parent(parent_id: int) -> None:
    """Asks the Linux kernel for SIGKILL when the parent dies; a no-op elsewhere.

    `parent_id` was read as early as possible: a parent that died before the kernel was asked sends no signal, which the
    second look at the parent id notices.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}", file=sys.stderr, flush=True)
    if os.getppid() != parent_id:
        os._exit(EXIT_PARENT_GONE)


def read_credentials() -> Credentials:
    """Reads `{"token": "...", "epoch": N}` from stdin, unbuffered. Raises `ValueError` for anything else."""
    line = read_first_line()
    try:
        first_line = msgspec.json.decode(line, type=_FirstLine)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f'expected {{"token": "...", "epoch": N}} on the first line of stdin: {error}') from error
    if not 1 <= len(first_line.token) <= TOKEN_CHARACTERS:
        raise ValueError(f"expected a token of 1 to {TOKEN_CHARACTERS} characters, received {len(first_line.token)}")
    return Credentials(first_line.token, first_line.epoch)


def read_first_line() -> bytes:
    """Of stdin, unbuffered: what comes after it is left. Raises `ValueError` where there is none."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(_STDIN, 1)
        if not byte:
            raise ValueError("stdin ended before the line with the token; whoever starts the worker writes it there")
        line += byte
        if len(line) > FIRST_LINE_BYTES:
            raise ValueError(f"the first line of stdin is longer than {FIRST_LINE_BYTES} bytes")
    return line


def watch_stdin(endpoint: str | None = None, on_line: Callable[[], None] = lambda: None) -> None:
    """Ends the process as soon as stdin is closed. Call after `read_credentials`.

    `endpoint`: where the parent listens; see `remove_socket`. `on_line`: called when something is written, in a thread.
    """
    watch = partial(_exit_on_end_of_stdin, endpoint, on_line)
    threading.Thread(target=watch, name="stdin watch", daemon=True).start()


def watch_parent(parent_id: int, endpoint: str) -> None:
    """Ends the process soon after the parent's end, for the time before `die_with_parent`; stdin may be held open."""
    threading.Thread(target=_exit_when_orphaned, args=(parent_id, endpoint), name="parent watch", daemon=True).start()


def remove_socket(endpoint: str) -> None:
    """Removes the socket of a parent that was killed, and the directory that the parent made for it alone.

    A parent that lives does that itself, once the worker has dialled in.
    """
    path = Path(endpoint.removeprefix("ipc://"))
    if not endpoint.startswith("ipc://") or not path.parent.name.startswith("zipar-worker-"):
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _exit_when_orphaned(parent_id: int, endpoint: str) -> None:
    while os.getppid() == parent_id:
        time.sleep(_PARENT_CHECK_SECONDS)
    remove_socket(endpoint)
    os._exit(EXIT_PARENT_GONE)


def _exit_on_end_of_stdin(endpoint: str | None, on_line: Callable[[], None]) -> None:
    try:
        while os.read(_STDIN, 4096):
            on_line()
        if endpoint is not None:
            remove_socket(endpoint)
    finally:
        os._exit(EXIT_PARENT_GONE)
