"""The worker's main path: receive, decode, look the operation up in a fixed table, execute, reply."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec

from zipar_worker import __version__
from zipar_worker.checkpoints.sources import describe_source
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import Executor, Loaded, ProgressReporter
from zipar_worker.execute.progress_count import advance_, progress_count
from zipar_worker.serve.check_forward import check_forward
from zipar_worker.serve.failures import describe_failure
from zipar_worker.serve.heartbeat import Pulse
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.serve.resident_memory import resident_bytes
from zipar_worker.serve.sequences import SequenceRegistry
from zipar_worker.wire.arrays import Array
from zipar_worker.wire.codec import (
    RejectedRequest,
    decode_request,
    describe_arrays,
    encode_reply,
    unsupported_version,
)
from zipar_worker.wire.link import LINGER_MS, Link
from zipar_worker.wire.protocol import (
    PROTOCOL_VERSION,
    BranchReply,
    DecodeImage,
    Describe,
    Described,
    Done,
    EncodePrompt,
    ErrorReply,
    Fatal,
    Forward,
    ForwardDone,
    Hello,
    ImageDecoded,
    Init,
    ModelCard,
    Profile,
    ProfileDone,
    Progress,
    PromptEncoded,
    PulseReply,
    Ready,
    ReadyLimits,
    Refuse,
    Release,
    Reply,
    Shutdown,
    StatsReport,
    StatsRequest,
    WeightsPart,
)

EXIT_DONE = 0
EXIT_NOBODY = 69
"""`EX_UNAVAILABLE` of sysexits.h: nobody answered the hello."""
EXIT_FATAL = 70
"""`EX_SOFTWARE` of sysexits.h."""
EXIT_AGAIN = 75
"""`EX_TEMPFAIL` of sysexits.h: turned away, but another hello may be welcome."""
EXIT_REFUSED = 77
"""`EX_NOPERM` of sysexits.h: turned away for a reason that stays."""
ANSWER_TIMEOUT_MS = 60_000
"""How long the SDK may take to answer the hello."""

PROGRESS_INTERVAL_SECONDS = 0.05

Arrays: TypeAlias = Sequence[Array]
LoadRequest = TypeVar("LoadRequest", Init, Describe)


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A loaded model, and what was asked for: it serves the next engine that asks for the same."""

    asked: Init
    executor: Executor
    loaded: Loaded


class Server:
    """Answers an SDK, or one after the other. Owns the loaded model, which outlives a conversation."""

    link: Link
    credentials: Credentials

    def __init__(
        self,
        make_executor: Callable[[], Executor],
        *,
        device: str = "auto",
        note: Callable[[str], None] = lambda _: None,
        on_answer: Callable[[], None] = lambda: None,
        answer_timeout_ms: int = ANSWER_TIMEOUT_MS,
    ) -> None:
        """`make_executor` is called in `init` and `describe`: a slow import of its library is covered by `progress`.

        `device` is where models go unless it is "auto": then the SDK decides. `note` tells whoever runs this worker
        what goes on. `on_answer` is called when the SDK has let the worker in.
        """
        self.make_executor = make_executor
        self.device = device
        self.note = note
        self.on_answer = on_answer
        self.answer_timeout_ms = answer_timeout_ms
        self.kept: KeptModel | None = None
        self.executor: Executor | None = None
        self.books: SequenceRegistry | None = None
        self.forward_count = 0
        self.forward_seconds = 0.0
        self.operations: dict[type[Any], Callable[[Any, Arrays], None]] = {
            Init: self.init,
            Describe: self.describe,
            EncodePrompt: self.encode_prompt,
            Forward: self.forward,
            DecodeImage: self.decode_image,
            Profile: self.profile,
            Release: self.release,
            StatsRequest: self.report_stats,
        }
        # ZeroMQ sockets may change threads, with a lock between them: the pulse sends while the main thread computes.
        self.sending = threading.Lock()
        self.pulse = Pulse(self.send_pulse)

    def serve(self, link: Link, credentials: Credentials) -> int:
        """Says hello, answers requests until `shutdown`, `refuse` or a fatal failure, and returns the exit code.

        Closes the link. Raises `LinkLost`, after which the server can serve again.
        """
        self.link = link
        self.credentials = credentials
        linger_ms = 0
        try:
            link.connect()
            self.send(
                Hello(
                    epoch=credentials.epoch,
                    protocol_version=PROTOCOL_VERSION,
                    worker_version=__version__,
                    pid=os.getpid(),
                    token=credentials.token,
                )
            )
            if not link.wait(self.answer_timeout_ms):
                return self.give_up()
            self.on_answer()
            exit_code = None
            while exit_code is None:
                exit_code = self.answer(self.receive())
            linger_ms = LINGER_MS
            return exit_code
        finally:
            self.forget_sequences()
            link.close(linger_ms)

    def receive(self) -> list[bytes]:
        return self.link.receive()

    def give_up(self) -> int:
        """Ends a worker that dialled in to nobody."""
        print(
            f"zipar_worker: nobody answered at {self.link.endpoint} within {self.answer_timeout_ms / 1000:g} s; "
            "expected the SDK that this worker belongs to",
            file=sys.stderr,
            flush=True,
        )
        return EXIT_NOBODY

    def forget_sequences(self) -> None:
        """Ends a conversation: the model stays loaded, and the next SDK starts from nothing else."""
        if self.executor is not None and self.books is not None:
            self.executor.release(self.books.release_(list(self.books.held)))
        self.executor = None
        self.books = None

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
                self.send_done(request_number)
                return EXIT_DONE
            with self.pulse.during(request_number):
                self.operations[type(request)](request, arrays)
            return None
        except RejectedRequest as error:
            return self.report_failure(error, error.request)
        except Exception as error:
            return self.report_failure(error, request_number)

    def init(self, request: Init, _arrays: Arrays) -> None:
        if request.protocol_version != PROTOCOL_VERSION:
            raise unsupported_version(request.protocol_version)
        if self.books is not None:
            raise WorkerError("bad-request", "init: this worker has loaded a model already; start another worker")
        asked = msgspec.structs.replace(request, epoch=0, request=0)
        kept = self.kept
        if kept is None or kept.asked != asked:
            kept = self.load(request, asked)
        loaded = kept.loaded
        self.executor = kept.executor
        self.books = SequenceRegistry(loaded)
        self.note(f"serving {loaded.card.name} on {loaded.device} as {loaded.dtype}")
        self.send(
            Ready(
                epoch=self.credentials.epoch,
                request=request.request,
                frames=(),
                card=loaded.card,
                device=loaded.device,
                dtype=loaded.dtype,
                limits=ReadyLimits(cache_row_count=loaded.cache_row_count, slot_count=loaded.slot_count),
            )
        )

    def load(self, request: Init, asked: Init) -> KeptModel:
        placed = self.place(request)
        self.kept = None
        gc.collect()  # the memory of an earlier model is free before that of the next is counted
        self.note(f"loading {describe_source(request.model.weights)}")
        # A failed load may leave half a model behind, so a second attempt starts from a new executor.
        executor = self.make_executor()
        loaded = executor.init(placed, self.progress_reporter(request.request))
        self.kept = KeptModel(asked, executor, loaded)
        return self.kept

    def place(self, request: LoadRequest) -> LoadRequest:
        """The request with this worker's own device. Raises `device` where another one is asked for."""
        if self.device in ("auto", request.device):
            return request
        if request.device == "auto":
            return msgspec.structs.replace(request, device=self.device)
        raise WorkerError(
            "device",
            f"the engine asks for device {request.device!r}, and this worker was started with --device {self.device}; "
            'leave the engine\'s device at "auto", or start the worker with another',
        )

    def describe(self, request: Describe, _arrays: Arrays) -> None:
        outline = self.make_executor().describe(self.place(request), self.progress_reporter(request.request))
        self.send(
            Described(
                epoch=self.credentials.epoch,
                request=request.request,
                frames=(),
                card=outline.card,
                device=outline.device,
                dtype=outline.dtype,
                weights=tuple(WeightsPart(part=part, bytes=count) for part, count in outline.weight_bytes.items()),
                slot_count=outline.slot_count,
                cache_bytes_per_image=outline.cache_bytes_per_image,
                free_bytes=outline.free_bytes,
            )
        )

    def encode_prompt(self, request: EncodePrompt, _arrays: Arrays) -> None:
        executor, books = self.loaded()
        books.check_new(request)
        prompt = executor.encode_prompt(request)
        books.add_(request, prompt)
        branches = tuple(BranchReply(name=branch.name, padding=branch.padding) for branch in prompt.branches)
        self.send(
            PromptEncoded(
                epoch=self.credentials.epoch,
                request=request.request,
                frames=(),
                prompt_length=prompt.prompt_length,
                branches=branches,
            )
        )

    def forward(self, request: Forward, arrays: Arrays) -> None:
        executor, books = self.loaded()
        feeds = check_forward(request, arrays, books.held, books.loaded.card, books.loaded.slot_count)
        start = time.perf_counter()
        result = executor.forward(feeds)
        self.forward_seconds += time.perf_counter() - start
        self.forward_count += 1
        self.send_arrays(
            ForwardDone,
            request.request,
            [
                Array("drawnTokens", "int32", (len(result.drawn_tokens),), result.drawn_tokens),
                Array("drawnProbabilities", "float32", (len(result.drawn_probabilities),), result.drawn_probabilities),
                Array("distributionLengths", "int32", (len(result.distribution_lengths),), result.distribution_lengths),
                Array("distributionTokens", "int32", (len(result.distribution_tokens),), result.distribution_tokens),
                Array(
                    "distributionProbabilities",
                    "float32",
                    (len(result.distribution_probabilities),),
                    result.distribution_probabilities,
                ),
            ],
        )

    def decode_image(self, request: DecodeImage, arrays: Arrays) -> None:
        executor, books = self.loaded()
        card = books.loaded.card
        (codes,) = arrays
        if card.image_decoder is None:
            raise WorkerError("bad-request", f"decode-image: {card.name} was loaded without an image tokenizer")
        _check_codes("decode-image", codes, card)
        self.send_arrays(ImageDecoded, request.request, [executor.decode_image(codes)])

    def profile(self, request: Profile, arrays: Arrays) -> None:
        executor, books = self.loaded()
        (codes,) = arrays
        held = books.held.get(request.sequence)
        if held is None:
            raise WorkerError(
                "bad-request", f"profile: sequence {request.sequence} is unknown; encode its prompt first"
            )
        _check_codes("profile", codes, books.loaded.card)
        if codes.shape != held.grid:
            raise WorkerError(
                "bad-request",
                f"profile: the prompt of sequence {request.sequence} is for {held.grid[0]} x {held.grid[1]} tokens, "
                f"received {codes.shape[0]} x {codes.shape[1]}",
            )
        self.send_arrays(ProfileDone, request.request, executor.profile(request, codes))

    def release(self, request: Release, _arrays: Arrays) -> None:
        executor, books = self.loaded()
        executor.release(books.release_(request.sequences))
        self.send_done(request.request)

    def report_stats(self, request: StatsRequest, _arrays: Arrays) -> None:
        executor, books = self.loaded()
        self.send(
            StatsReport(
                epoch=self.credentials.epoch,
                request=request.request,
                frames=(),
                forward_count=self.forward_count,
                forward_ms=self.forward_seconds * 1000,
                sequence_count=len(books.held),
                resident_bytes=resident_bytes(),
                device_bytes=executor.stats().device_bytes,
            )
        )

    def loaded(self) -> tuple[Executor, SequenceRegistry]:
        if self.executor is None or self.books is None:
            raise WorkerError("not-ready", "no model is loaded yet; send init and wait for ready first")
        return self.executor, self.books

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
            self.send(
                Progress(
                    epoch=self.credentials.epoch,
                    request=request,
                    frames=(),
                    phase=phase,
                    completed=completed,
                    total=total,
                    unit=unit,
                )
            )

        return report

    def turn_back(self, refusal: Refuse) -> int:
        """Ends a conversation that the SDK does not want."""
        text = f"zipar_worker: turned away at {self.link.endpoint}: {refusal.message}"
        print(text, file=sys.stderr, flush=True)
        return EXIT_AGAIN if refusal.reason == "replayed" else EXIT_REFUSED

    def report_failure(self, error: Exception, request: int | None) -> int | None:
        """Answers `request` with what went wrong; the exit code if the worker cannot go on."""
        body, fatal = describe_failure(error)
        if request is not None and not fatal:
            self.note(body.message)
            self.send(ErrorReply(epoch=self.credentials.epoch, request=request, frames=(), error=body))
            return None
        print(f"zipar worker ends: {body.message}", file=sys.stderr, flush=True)
        self.send(Fatal(epoch=self.credentials.epoch, error=body))
        return EXIT_FATAL

    def send_pulse(self, request: int) -> None:
        self.send(PulseReply(epoch=self.credentials.epoch, request=request, frames=(), count=progress_count()))

    def send_done(self, request: int) -> None:
        self.send(Done(epoch=self.credentials.epoch, request=request, frames=()))

    def send_arrays(
        self, reply_type: type[ForwardDone | ImageDecoded | ProfileDone], request: int, arrays: Arrays
    ) -> None:
        reply = reply_type(epoch=self.credentials.epoch, request=request, frames=describe_arrays(arrays))
        self.send(reply, arrays)

    def send(self, reply: Reply, arrays: Arrays = ()) -> None:
        with self.sending:
            self.link.send(encode_reply(reply, arrays))


def _check_codes(operation: str, codes: Array, card: ModelCard) -> None:
    """Raises `bad-request` unless `codes` is a grid of tokens of the codebook."""
    if 0 in codes.shape:
        raise WorkerError("bad-request", f"{operation}: expected a token grid, received shape {list(codes.shape)}")
    values = codes.data.tolist()
    if min(values) < 0 or max(values) >= card.code_count:
        code = next(code for code in values if not 0 <= code < card.code_count)
        raise WorkerError("bad-request", f"{operation}: expected codes in 0..{card.code_count - 1}, received {code}")
