"""What the server needs of something that executes a model.

Implemented by `execute/executor.py` with PyTorch and by `stub/executor.py` without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from zipar_worker.wire.arrays import Array
from zipar_worker.wire.protocol import Describe, EncodePrompt, ForwardSequence, Init, ModelCard, Profile, TypeName


class ProgressReporter(Protocol):
    """Sends a life sign of a long operation.

    May be called as often as is handy: the server drops calls that follow each other too closely.
    """

    def __call__(self, phase: str, completed: float, total: float | None, unit: str) -> None:
        """`phase` at most 64 characters, `unit` at most 16 ("bytes", "layers"); `total` is None where unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded checkpoint. `device` e.g. "cpu" or "cuda:0 NVIDIA H100"; `slot_count` is slots per cache row.

    `warnings`, here and below: what the user should know although it is no error, a sentence each.
    """

    card: ModelCard
    device: str
    dtype: TypeName
    cache_row_count: int
    slot_count: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A checkpoint that was not loaded. Bytes are those of the device; see `describedSchema` in `messages.ts`."""

    card: ModelCard
    device: str
    dtype: TypeName
    weight_bytes: Mapping[str, int]
    slot_count: int
    cache_bytes_per_image: int
    free_bytes: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptBranch:
    """A branch of an encoded prompt. Its slots below `padding` are left padding, never attended to.

    What RoPE sees of a slot is `max(slot - position_offset, 0)`.
    """

    name: str
    padding: int
    position_offset: int


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A held prompt: it occupies slots `0 .. prompt_length - 1` of every branch, in the order of the cache rows."""

    prompt_length: int
    branches: tuple[PromptBranch, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceFeed:
    """What one sequence brings to a forward, checked: Q queries, R runs of written slots, D draws.

    tokens, slots: [Q]; wants: [Q] of `WANT_*`; uniforms: [D], one for each query that wants a draw, in query order;
    runs: [2 * R] of first, end, first, end, ..., ascending; steps: [Q], the forward of plain decoding that each query
    belongs to: it sees no slot that was written for a later one.
    """

    settings: ForwardSequence
    tokens: list[int]
    slots: list[int]
    wants: bytes
    uniforms: Sequence[float]
    runs: list[int]
    steps: list[int]


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """What a forward was asked for, in query order over all sequences, as flat views.

    drawn_tokens: int32 [D], drawn_probabilities: float32 [D] (under the filtered distribution),
    distribution_lengths: int32 [N], distribution_tokens: int32 [sum of lengths] (ascending within a query),
    distribution_probabilities: float32 [sum of lengths] (each query's sum to 1).
    """

    drawn_tokens: memoryview
    drawn_probabilities: memoryview
    distribution_lengths: memoryview
    distribution_tokens: memoryview
    distribution_probabilities: memoryview
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """What only the executor knows; the server counts forwards, their time and sequences itself."""

    device_bytes: int | None
    """Memory allocated on the accelerator; None on the CPU."""
    followers: tuple[int, ...] = ()
    """Ids of the processes beside this one."""


class Executor(Protocol):
    """Executes what TypeScript planned. Failures are `WorkerError`s; anything else counts as a bug.

    The server guarantees: `init` is called once and before all but `describe`; requests have passed
    `serve/check_forward.py` and `serve/sequences.py` (known sequences and branches, free cache rows within the count,
    class index in range, tokens, slots and runs in order); calls never overlap.
    """

    def describe(self, request: Describe, report: ProgressReporter) -> ModelDescription:
        """Reads what a checkpoint is, without loading it. Raises `checkpoint`, `device`."""
        ...

    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        """Loads the checkpoint and allocates the cache. Raises `checkpoint`, `device`, `out-of-memory`."""
        ...

    def encode_prompt(self, request: EncodePrompt) -> EncodedPrompt:
        """Tokenises and holds the prompt of a new sequence. Raises `bad-request` for a grid it cannot serve."""
        ...

    def forward(self, feeds: Sequence[SequenceFeed]) -> ForwardResult:
        """One transformer forward. All its sequences succeed or all fail."""
        ...

    def decode_image(self, codes: Array) -> Array:
        """codes: int32 [rows, columns], each in `0 .. codeCount-1` -> pixels: uint8 [height, width, 3], RGB."""
        ...

    def profile(self, request: Profile, codes: Array) -> Sequence[Array]:
        """Where attention goes in a finished image. codes: as for `decode_image`, of the grid of a held sequence.

        Returns the arrays of `profile-done` in order: `mass` float32 [layers, heads, rows, 2 * columns - 1],
        `otherMass` float32 [layers, heads], `rowStartMass` float32 [rows - 1, layers, heads, columns], `rowStartTotal`
        float32 [rows - 1, layers, heads]; see `profile.py`. Raises `bad-request` where the model has no attention.
        """
        ...

    def release(self, sequences: Sequence[int]) -> None:
        """Forgets sequences; all of them are known."""
        ...

    def stats(self) -> Stats: ...

    def close(self) -> None:
        """Ends what it started beside this process. Nothing is called after it."""
        ...


MakeExecutor: TypeAlias = Callable[[Init | Describe], Executor]
"""Makes the executor that is to answer this request first."""
