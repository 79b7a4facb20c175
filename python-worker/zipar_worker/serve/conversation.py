"""The conversation with an SDK: hello, requests and replies, progress, heartbeats, failures, and its end.

What the requests ask for is done in `operations.py`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from zipar_worker import __version__
from zipar_worker.execute.contract import MakeExecutor, ProgressReporter
from zipar_worker.execute.progress_count import advance_, progress_count
from zipar_worker.serve.failures import EXIT_FATAL, describe_failure
from zipar_worker.serve.heartbeat import Heartbeat
from zipar_worker.serve.leave import Leave
from zipar_worker.serve.operations import Answer, Arrays, Operation, Operations
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.wire.codec import RejectedRequest, decode_request, describe_arrays, encode_reply
from zipar_worker.wire.link import LINGER_MS, Link
from zipar_worker.wire.protocol import (
    PROTOCOL_VERSION,
    Done,
    ErrorReply,
    Fatal,
    Hello,
    Leaving,
    Progress,
    PulseReply,
    Refuse,
    Reply,
    Shutdown,
)

EXIT_DONE = 0
EXIT_NOBODY = 69
"""`EX_UNAVAILABLE` of sysexits.h: nobody answered the hello."""
EXIT_AGAIN = 75
"""`EX_TEMPFAIL` of sysexits.h: turned away, but another hello may be welcome."""
EXIT_REFUSED = 77
"""`EX_NOPERM` of sysexits.h: turned away for a reason that stays."""
ANSWER_TIMEOUT_MS = 60_000
"""How long the SDK may take to answer the hello."""

PROGRESS_INTERVAL_SECONDS = 0.05
LEAVE_CHECK_MS = 100


class Server:
    """Answers an SDK, or one after the other."""

    link: Link
    credentials: Credentials

    def __init__(
        self,
        make_executor: MakeExecutor,
        *,
        device: str = "auto",
        note: Callable[[str], None] = lambda _: None,
        on_answer: Callable[[], None] = lambda: None,
        answer_timeout_ms: int = ANSWER_TIMEOUT_MS,
        leave: Leave | None = None,
    ) -> None:
        """`make_executor` is called in `init` and `describe`: a slow import of its library is covered by `progress`.

        `device` is where models go unless it is "auto": then the SDK decides. `note` tells whoever runs this worker
        what goes on. `on_answer` is called when the SDK has let the worker in. `leave` says when to end unasked.
        """
        self.operations = Operations(make_executor, device, note)
        self.note = note
        self.on_answer = on_answer
        self.answer_timeout_ms = answer_timeout_ms
        self.leave = leave
        # ZeroMQ sockets may change threads, with a lock between them: heartbeats leave while the main thread computes.
        self.sending = threading.Lock()
        self.heartbeat = Heartbeat(self.send_heartbeat)

    def serve(self, link: Link, credentials: Credentials) -> int:
        """Says hello, answers requests until `shutdown`, `refuse` or a fatal failure, and returns the exit code.

        Closes the link. Raises `LinkLost`, after which the server can serve again.
        """
        self.link = link
        self.credentials = credentials
        self.has_told_leave = False
        linger_ms = 0
        try:
            link.connect()
            self.say_hello()
            if not link.wait(self.answer_timeout_ms):
                return self.give_up()
            self.on_answer()
            exit_code = None
            while exit_code is None:
                exit_code = EXIT_DONE if self.leaves_before_next() else self.answer(self.link.receive())
            linger_ms = LINGER_MS
            return exit_code
        finally:
            self.operations.end_session()
            link.close(linger_ms)

    def say_hello(self) -> None:
        self.send(
            Hello(
                epoch=self.credentials.epoch,
                protocol_version=PROTOCOL_VERSION,
                worker_version=__version__,
                pid=os.getpid(),
                token=self.credentials.token,
            )
        )

    def leaves_before_next(self) -> bool:
        """Waits for a message; whether the worker, asked to leave, ends before there is one. Tells the SDK once."""
        if self.leave is None:
            return False
        quiet_since = time.monotonic()
        while True:
            has_message = self.link.wait(LEAVE_CHECK_MS)
            if self.leave.is_asked and not self.has_told_leave:
                self.send(Leaving(epoch=self.credentials.epoch))
                self.has_told_leave = True
            quiet_seconds = 0.0 if has_message else time.monotonic() - quiet_since
            if self.leave.is_due(held_count=self.operations.held_count, quiet_seconds=quiet_seconds):
                return True
            if has_message:
                return False

    def answer(self, parts: Sequence[bytes]) -> int | None:
        """Answers one message; the exit code if the worker ends after it."""
        request_number = None
        try:
            decoded = decode_request(parts, self.credentials.epoch)
            if decoded is None:
                return None
            request, arrays = decoded
            request_number = request.request
            if isinstance(request, Refuse):
                return self.turn_back(request)
            if isinstance(request, Shutdown):
                self.reply(request_number, Answer(Done))
                return EXIT_DONE
            with self.heartbeat.during(request_number):
                self.reply(request_number, self.perform(request, arrays))
            return None
        except RejectedRequest as error:
            return self.report_failure(error, error.request)
        except Exception as error:
            return self.report_failure(error, request_number)

    def perform(self, request: Operation, arrays: Arrays) -> Answer:
        return self.operations.perform(request, arrays, self.progress_reporter(request.request))

    def progress_reporter(self, request: int) -> ProgressReporter:
        """Sends the first and the last report of each phase, and of the others as many as a reader can follow."""
        last_phase = ""
        last_time = 0.0

        def report(phase: str, completed: float, total: float | None, unit: str) -> None:
            nonlocal last_phase, last_time
            advance_()
            now = time.monotonic()
            if phase == last_phase and completed != total and now - last_time < PROGRESS_INTERVAL_SECONDS:
                return
            last_phase, last_time = phase, now
            progress = partial(Progress, phase=phase, completed=completed, total=total, unit=unit)
            self.reply(request, Answer(progress))

        return report

    def send_heartbeat(self, request: int) -> None:
        self.reply(request, Answer(partial(PulseReply, count=progress_count())))

    def report_failure(self, error: Exception, request: int | None) -> int | None:
        """Answers `request` with what went wrong; the exit code if the worker cannot go on."""
        body, fatal = describe_failure(error)
        if request is not None and not fatal:
            self.note(body.message)
            self.reply(request, Answer(partial(ErrorReply, error=body)))
            return None
        print(f"zipar worker ends: {body.message}", file=sys.stderr, flush=True)
        self.send(Fatal(epoch=self.credentials.epoch, error=body))
        return EXIT_FATAL

    def turn_back(self, refusal: Refuse) -> int:
        """Ends a conversation that the SDK does not want."""
        text = f"zipar_worker: turned away at {self.link.endpoint}: {refusal.message}"
        print(text, file=sys.stderr, flush=True)
        return EXIT_AGAIN if refusal.reason == "replayed" else EXIT_REFUSED

    def give_up(self) -> int:
        """Ends a worker that dialled in to nobody."""
        print(
            f"zipar_worker: nobody answered at {self.link.endpoint} within {self.answer_timeout_ms / 1000:g} s; "
            "expected the SDK that this worker belongs to",
            file=sys.stderr,
            flush=True,
        )
        return EXIT_NOBODY

    def reply(self, request: int, answer: Answer) -> None:
        """Sends an answer, or another message about a request, with its header."""
        frames = describe_arrays(answer.arrays)
        self.send(answer.make(epoch=self.credentials.epoch, request=request, frames=frames), answer.arrays)

    def send(self, reply: Reply, arrays: Arrays = ()) -> None:
        with self.sending:
            self.link.send(encode_reply(reply, arrays))
