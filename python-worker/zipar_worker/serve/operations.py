"""What a worker does for an SDK, one method per request. Knows nothing of links, epochs and who asks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from zipar_worker.checkpoints.sources import describe_source
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import Executor, ForwardResult, Loaded, MakeExecutor, ProgressReporter
from zipar_worker.serve.check_forward import check_forward
from zipar_worker.serve.resident_memory import resident_bytes
from zipar_worker.serve.sequences import SequenceRegistry
from zipar_worker.wire.arrays import Array, ArrayType
from zipar_worker.wire.codec import unsupported_version
from zipar_worker.wire.protocol import (
    PROTOCOL_VERSION,
    WARNING_CHARACTERS,
    WARNING_COUNT,
    BranchReply,
    DecodeImage,
    Describe,
    Described,
    Done,
    EncodePrompt,
    Forward,
    ForwardDone,
    ImageDecoded,
    Init,
    ModelCard,
    Profile,
    ProfileDone,
    PromptEncoded,
    Ready,
    ReadyLimits,
    Release,
    Reply,
    StatsReport,
    StatsRequest,
    WeightsPart,
)

Arrays: TypeAlias = Sequence[Array]
Operation: TypeAlias = Init | Describe | EncodePrompt | Forward | DecodeImage | Profile | Release | StatsRequest
LoadRequest = TypeVar("LoadRequest", Init, Describe)


class Answer(NamedTuple):
    """A reply without its header: `make` takes `epoch`, `request` and `frames`, which describe `arrays`."""

    make: Callable[..., Reply]
    arrays: Arrays = ()


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A loaded model, and what was asked for: it serves the next engine that asks for the same."""

    asked: Init
    executor: Executor
    loaded: Loaded


class Session(NamedTuple):
    """What `init` opens: a model, and the sequences that one SDK holds in it."""

    executor: Executor
    registry: SequenceRegistry


class Operations:
    """Executes checked requests. Owns the loaded model, which outlives a session."""

    def __init__(self, make_executor: MakeExecutor, device: str, note: Callable[[str], None]) -> None:
        """See `Server`."""
        self.make_executor = make_executor
        self.device = device
        self.note = note
        self.kept: KeptModel | None = None
        self.session: Session | None = None
        self.forward_count = 0
        self.forward_seconds = 0.0

    @property
    def held_count(self) -> int:
        """Sequences of the SDK that is served."""
        return 0 if self.session is None else len(self.session.registry.held)

    def perform(self, request: Operation, arrays: Arrays, report: ProgressReporter) -> Answer:
        """arrays: those of the request, their names, types and numbers of dimensions checked."""
        match request:
            case Init():
                return self.init(request, report)
            case Describe():
                return self.describe(request, report)
            case EncodePrompt():
                return self.encode_prompt(request)
            case Forward():
                return self.forward(request, arrays)
            case DecodeImage():
                return self.decode_image(arrays)
            case Profile():
                return self.profile(request, arrays)
            case Release():
                return self.release(request)
            case StatsRequest():
                return self.report_stats()

    def end_session(self) -> None:
        """The model stays loaded, and the next SDK starts from nothing else."""
        if self.session is not None:
            executor, registry = self.session
            executor.release(registry.release_(list(registry.held)))
        self.session = None

    def close(self) -> None:
        """The model is gone, with all that it was spread over."""
        if self.kept is not None:
            self.kept.executor.close()
        self.kept = None

    def init(self, request: Init, report: ProgressReporter) -> Answer:
        if request.protocol_version != PROTOCOL_VERSION:
            raise unsupported_version(request.protocol_version)
        if self.session is not None:
            raise WorkerError("bad-request", "init: this worker has loaded a model already; start another worker")
        asked = msgspec.structs.replace(request, epoch=0, request=0)
        kept = self.kept
        if kept is None or kept.asked != asked:
            kept = self.load(request, asked, report)
        loaded = kept.loaded
        self.session = Session(kept.executor, SequenceRegistry(loaded))
        self.note(f"serving {loaded.card.name} on {loaded.device} as {loaded.dtype}")
        limits = ReadyLimits(cache_row_count=loaded.cache_row_count, slot_count=loaded.slot_count)
        ready = partial(
            Ready,
            card=loaded.card,
            device=loaded.device,
            dtype=loaded.dtype,
            limits=limits,
            warnings=warnings_on_the_wire(loaded.warnings),
        )
        return Answer(ready)

    def load(self, request: Init, asked: Init, report: ProgressReporter) -> KeptModel:
        placed = self.place(request)
        self.close()
        gc.collect()  # the memory of an earlier model is free before that of the next is counted
        self.note(f"loading {describe_source(request.model.weights)}")
        # A failed load may leave half a model behind, so a second attempt starts from a new executor.
        executor = self.make_executor(placed)
        loaded = executor.init(placed, report)
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

    def describe(self, request: Describe, report: ProgressReporter) -> Answer:
        placed = self.place(request)
        description = self.make_executor(placed).describe(placed, report)
        described = partial(
            Described,
            card=description.card,
            device=description.device,
            dtype=description.dtype,
            weights=tuple(WeightsPart(part=part, bytes=count) for part, count in description.weight_bytes.items()),
            slot_count=description.slot_count,
            cache_bytes_per_image=description.cache_bytes_per_image,
            free_bytes=description.free_bytes,
            warnings=warnings_on_the_wire(description.warnings),
        )
        return Answer(described)

    def encode_prompt(self, request: EncodePrompt) -> Answer:
        executor, registry = self.opened()
        registry.check_new(request)
        prompt = executor.encode_prompt(request)
        registry.add_(request, prompt)
        branches = tuple(BranchReply(name=branch.name, padding=branch.padding) for branch in prompt.branches)
        encoded = partial(
            PromptEncoded,
            prompt_length=prompt.prompt_length,
            branches=branches,
            warnings=warnings_on_the_wire(prompt.warnings),
        )
        return Answer(encoded)

    def forward(self, request: Forward, arrays: Arrays) -> Answer:
        executor, registry = self.opened()
        feeds = check_forward(request, arrays, registry.held, registry.loaded.card, registry.loaded.slot_count)
        start = time.perf_counter()
        result = executor.forward(feeds)
        self.forward_seconds += time.perf_counter() - start
        self.forward_count += 1
        return Answer(partial(ForwardDone, warnings=warnings_on_the_wire(result.warnings)), _arrays_of(result))

    def decode_image(self, arrays: Arrays) -> Answer:
        executor, registry = self.opened()
        card = registry.loaded.card
        (codes,) = arrays
        if card.image_decoder is None:
            raise WorkerError("bad-request", f"decode-image: {card.name} was loaded without an image tokenizer")
        _check_codes("decode-image", codes, card)
        return Answer(ImageDecoded, [executor.decode_image(codes)])

    def profile(self, request: Profile, arrays: Arrays) -> Answer:
        executor, registry = self.opened()
        (codes,) = arrays
        held = registry.held.get(request.sequence)
        if held is None:
            raise WorkerError(
                "bad-request", f"profile: sequence {request.sequence} is unknown; encode its prompt first"
            )
        _check_codes("profile", codes, registry.loaded.card)
        if codes.shape != held.grid:
            raise WorkerError(
                "bad-request",
                f"profile: the prompt of sequence {request.sequence} is for {held.grid[0]} x {held.grid[1]} tokens, "
                f"received {codes.shape[0]} x {codes.shape[1]}",
            )
        return Answer(ProfileDone, executor.profile(request, codes))

    def release(self, request: Release) -> Answer:
        executor, registry = self.opened()
        executor.release(registry.release_(request.sequences))
        return Answer(Done)

    def report_stats(self) -> Answer:
        executor, registry = self.opened()
        stats = executor.stats()
        report = partial(
            StatsReport,
            forward_count=self.forward_count,
            forward_ms=self.forward_seconds * 1000,
            sequence_count=len(registry.held),
            resident_bytes=resident_bytes(stats.followers),
            device_bytes=stats.device_bytes,
        )
        return Answer(report)

    def opened(self) -> Session:
        if self.session is None:
            raise WorkerError("not-ready", "no model is loaded yet; send init and wait for ready first")
        return self.session


def warnings_on_the_wire(warnings: Sequence[str]) -> tuple[str, ...]:
    """As many as fit, each cut to what fits."""
    return tuple(text[:WARNING_CHARACTERS] for text in warnings[:WARNING_COUNT])


def _arrays_of(result: ForwardResult) -> list[Array]:
    return [
        _vector("drawnTokens", "int32", result.drawn_tokens),
        _vector("drawnProbabilities", "float32", result.drawn_probabilities),
        _vector("distributionLengths", "int32", result.distribution_lengths),
        _vector("distributionTokens", "int32", result.distribution_tokens),
        _vector("distributionProbabilities", "float32", result.distribution_probabilities),
    ]


def _vector(name: str, dtype: ArrayType, data: memoryview) -> Array:
    return Array(name, dtype, (len(data),), data)


def _check_codes(operation: str, codes: Array, card: ModelCard) -> None:
    """Raises `bad-request` unless `codes` is a grid of tokens of the codebook."""
    if 0 in codes.shape:
        raise WorkerError("bad-request", f"{operation}: expected a token grid, received shape {list(codes.shape)}")
    values = codes.data.tolist()
    if min(values) < 0 or max(values) >= card.code_count:
        code = next(code for code in values if not 0 <= code < card.code_count)
        raise WorkerError("bad-request", f"{operation}: expected codes in 0..{card.code_count - 1}, received {code}")
