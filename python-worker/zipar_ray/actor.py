"""What runs on a node: an actor of Ray with one worker process.

The process is the actor's child, and ends with it: with its stdin, and on Linux by the kernel. A CUDA context that is
lost costs the process and no more, and Ray's own threads and signals stay out of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import zipar_worker

FINAL_EXIT_CODES = frozenset({2, 77})
"""Bad input, turned away: another try would end alike."""
LEAST_SECONDS = 10.0
"""Between two starts of a worker that cannot live."""


class WorkerActor:
    """Two of its methods run at a time: `run`, and `leave`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_leaving = False

    def run(self, parameters: Sequence[str], secrets: bytes) -> int:
        """Serves engines until it is told to leave; the exit code, also of a worker that another try would not help.

        Any other end is the actor's own, so that Ray starts another one where there is room. `secrets` come as an
        argument, from the driver's memory to this one: they are in no command line, environment, file or log.
        """
        started = time.monotonic()
        self._process = process = subprocess.Popen(worker_command(parameters), stdin=subprocess.PIPE, bufsize=0)
        self._write(secrets)
        if self._is_leaving:
            self.leave()
        exit_code = process.wait()
        if self._is_leaving or exit_code in FINAL_EXIT_CODES:
            return exit_code
        print(f"zipar worker: it ended (exit code {exit_code}); Ray starts it again", file=sys.stderr, flush=True)
        time.sleep(max(0.0, started + LEAST_SECONDS - time.monotonic()))
        os._exit(1)

    def leave(self) -> None:
        self._is_leaving = True
        self._write(b"leave\n")

    def _write(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(BrokenPipeError):  # it has ended
            self._process.stdin.write(line)


def worker_command(parameters: Sequence[str]) -> list[str]:
    """With this interpreter, isolated as the SDK starts its own."""
    folder = Path(zipar_worker.__file__).resolve().parents[1]
    isolated = ["-I", "-u", "-X", "utf8", str(folder / "start.py"), str(folder), "zipar_worker"]
    return [sys.executable, *isolated, "--with-parent", "--secrets-on-stdin", *parameters]
