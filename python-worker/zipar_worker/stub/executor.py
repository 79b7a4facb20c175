"""A deterministic model without PyTorch, for tests of everything around the model.

Its next token is a hash of what a raster-order model could depend on: the cell, the class, the token to the left, and
`reach` tokens of the row above from the cell's own column on, as far as the query may see them. So every window of at
least `reach` reproduces next-token order, and an attention to a slot that was never written is an error.
The law is in `law.py`.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import (
    EncodedPrompt,
    ForwardResult,
    Loaded,
    ModelDescription,
    ProgressReporter,
    PromptBranch,
    SequenceFeed,
    Stats,
)
from zipar_worker.stub.law import HASH_START, candidates, draw, filtered_distribution, is_covered, mix
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import (
    WANT_DRAW,
    WANT_NONE,
    ClassCard,
    ClassConditioning,
    Describe,
    EncodePrompt,
    Grid,
    ImageDecoderCard,
    Init,
    ModelCard,
    Profile,
    SamplingDefaults,
    Side,
)

CLASS_COUNT = 1000
PIXELS_PER_TOKEN = 8
DEFAULT_SLOT_COUNT = 16384

Cell: TypeAlias = tuple[int, int]
"""Row and column."""


class StubOptions(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What `--stub JSON` may set."""

    rows: Side = 24
    columns: Side = 24
    row_end: Literal["none", "token"] = "none"
    code_count: Annotated[int, msgspec.Meta(ge=2, le=2**24)] = 16384
    prompt_length: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 1
    reach: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 3
    """Tokens of the row above that matter: columns `j .. j + reach - 1` for column `j`."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    slot_count: Annotated[int, msgspec.Meta(ge=1, le=2**24)] | None = None
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0
    """Pause in every forward."""


def decode_options(text: str) -> StubOptions:
    """Raises `ValueError` for anything but a JSON object with known options in their ranges."""
    try:
        return msgspec.json.decode(text, type=StubOptions)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"--stub: {error}") from error


class StubSequence:
    """What the stub remembers of a sequence: its shape, and the token last fed to each slot, and at which step.

    `written` holds one byte per slot, 1 where a token was fed.
    """

    def __init__(self, rows: int, columns: int, class_index: int, slot_count: int) -> None:
        self.rows = rows
        self.columns = columns
        self.class_index = class_index
        self.tokens = array("i", bytes(4 * slot_count))
        self.steps = array("i", bytes(4 * slot_count))
        self.written = bytearray(slot_count)


class StubExecutor:
    """An `Executor` that obeys the law of `law.py`."""

    def __init__(self, options: StubOptions) -> None:
        self.options = options
        self.slot_count = options.slot_count or max(
            DEFAULT_SLOT_COUNT, options.rows * (options.columns + 1) + options.prompt_length
        )
        self.row_ends = int(options.row_end == "token")
        self.seeded_state = mix(HASH_START, (options.seed,))
        self.sequences: dict[int, StubSequence] = {}

    def describe(self, request: Describe, report: ProgressReporter) -> ModelDescription:
        card = stub_card(self.options)
        return ModelDescription(
            card=card,
            device="cpu",
            dtype="float32",
            weight_bytes={},
            slot_count=self.slot_count,
            cache_bytes_per_image=len(card.branches) * self.slot_count * card.kv_bytes_per_slot,
            free_bytes=None,
        )

    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        report("load", 1, 1, "model")
        card = stub_card(self.options)
        return Loaded(
            card=card,
            device="cpu",
            dtype="float32",
            cache_row_count=request.image_count * len(card.branches),
            slot_count=self.slot_count,
        )

    def encode_prompt(self, request: EncodePrompt) -> EncodedPrompt:
        needed = self.options.prompt_length + request.rows * (request.columns + self.row_ends)
        if needed > self.slot_count:
            raise WorkerError(
                "bad-request",
                f"encode-prompt: a grid of {request.rows} x {request.columns} needs {needed} slots, the stub has "
                f"{self.slot_count}",
            )
        conditioning = request.conditioning
        class_index = conditioning.class_index if isinstance(conditioning, ClassConditioning) else 0
        self.sequences[request.sequence] = StubSequence(request.rows, request.columns, class_index, self.slot_count)
        names = ("conditional", "unconditional")[: len(request.cache_rows)]
        return EncodedPrompt(self.options.prompt_length, tuple(PromptBranch(name, 0, 0) for name in names))

    def forward(self, feeds: Sequence[SequenceFeed]) -> ForwardResult:
        if self.options.delay_ms:
            time.sleep(self.options.delay_ms / 1000)
        draws = _Draws()
        for feed in feeds:
            self._forward_sequence_(feed, draws)
        return draws.result()

    def decode_image(self, codes: Array) -> Array:
        """Each code becomes a square of one colour."""
        rows, columns = codes.shape
        pixels = bytearray()
        for row in range(rows):
            line = b"".join(
                bytes((code * 37 % 256, code * 91 % 256, code * 151 % 256)) * PIXELS_PER_TOKEN
                for code in codes.data[row * columns : (row + 1) * columns]
            )
            pixels += line * PIXELS_PER_TOKEN
        shape = (rows * PIXELS_PER_TOKEN, columns * PIXELS_PER_TOKEN, 3)
        return Array("pixels", "uint8", shape, view_as(pixels, "uint8"))

    def profile(self, request: Profile, codes: Array) -> Sequence[Array]:
        raise WorkerError(
            "bad-request", "profile: the stub is a hash, it has no attention to profile; load a real checkpoint"
        )

    def release(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            del self.sequences[sequence]

    def stats(self) -> Stats:
        return Stats(device_bytes=None)

    def close(self) -> None:
        return

    def _forward_sequence_(self, feed: SequenceFeed, draws: _Draws) -> None:
        """Writes the queries of one sequence, then answers those that want something into `draws`."""
        settings = feed.settings
        sequence = self.sequences[settings.sequence]
        remembered, written = sequence.tokens, sequence.written
        for token, slot, step in zip(feed.tokens, feed.slots, feed.steps, strict=True):
            remembered[slot] = token
            sequence.steps[slot] = step
            written[slot] = 1
        firsts, ends = feed.runs[0::2], feed.runs[1::2]
        for first, end in zip(firsts, ends, strict=True):
            unwritten = written.find(0, first, end)
            if unwritten >= 0:
                raise WorkerError(
                    "bad-request",
                    f"forward: sequence {settings.sequence} has the run [{first}, {end}), but slot {unwritten} "
                    "was never fed",
                )
        uniform = iter(feed.uniforms)
        for token, slot, step, want in zip(feed.tokens, feed.slots, feed.steps, feed.wants, strict=True):
            if want == WANT_NONE:
                continue
            cell = self.predicted_cell(sequence, slot)
            if cell is None:
                raise WorkerError(
                    "bad-request",
                    f"forward: sequence {settings.sequence} wants a token of slot {slot}, which predicts no cell of "
                    f"its {sequence.rows} x {sequence.columns} grid",
                )
            state = self._state(sequence, cell, token, slot, step, firsts, ends)
            chosen = filtered_distribution(candidates(state, self.options.code_count), settings)
            if want == WANT_DRAW:
                draws.add_draw_(chosen, next(uniform))
            else:
                draws.add_distribution_(chosen)

    def predicted_cell(self, sequence: StubSequence, slot: int) -> Cell | None:
        """The cell whose token the query at `slot` predicts; None in the prompt, before a row end, past the grid."""
        offset = slot - self.options.prompt_length
        if offset < -1:
            return None
        if offset == -1:
            return 0, 0
        row, column = divmod(offset, sequence.columns + self.row_ends)
        if column + 1 < sequence.columns:
            return (row, column + 1) if row < sequence.rows else None
        is_before_row_end = self.row_ends and column + 1 == sequence.columns
        return None if is_before_row_end or row + 1 >= sequence.rows else (row + 1, 0)

    def _state(
        self, sequence: StubSequence, cell: Cell, token: int, slot: int, step: int, firsts: list[int], ends: list[int]
    ) -> int:
        """The hash of everything that the token of `cell` depends on, seen from the query (`token`, `slot`, `step`)."""
        row, column = cell
        code_count = self.options.code_count
        left = token if column > 0 else code_count
        if row == 0:
            return mix(self.seeded_state, (row, column, sequence.class_index, left))
        above = self.options.prompt_length + (row - 1) * (sequence.columns + self.row_ends)
        first = above + column
        end = above + min(column + self.options.reach, sequence.columns)
        run = bisect_right(firsts, first) - 1
        are_earlier = max(sequence.steps[first:end], default=0) <= step
        if run >= 0 and end <= ends[run] and end <= slot + 1 and are_earlier:
            return mix(self.seeded_state, (row, column, sequence.class_index, left, *sequence.tokens[first:end]))
        seen = [
            sequence.tokens[other]
            if other <= slot and sequence.steps[other] <= step and is_covered(other, firsts, ends)
            else code_count + 1
            for other in range(first, end)
        ]
        return mix(self.seeded_state, (row, column, sequence.class_index, left, *seen))


class _Draws:
    """Collects what a forward returns, in query order."""

    def __init__(self) -> None:
        self.tokens = array("i")
        self.probabilities = array("f")
        self.lengths = array("i")
        self.distribution_tokens = array("i")
        self.distribution_probabilities = array("f")

    def add_draw_(self, distribution: list[tuple[int, float]], uniform: float) -> None:
        token, probability = draw(distribution, uniform)
        self.tokens.append(token)
        self.probabilities.append(probability)

    def add_distribution_(self, distribution: list[tuple[int, float]]) -> None:
        self.lengths.append(len(distribution))
        self.distribution_tokens.extend([token for token, _ in distribution])
        self.distribution_probabilities.extend([probability for _, probability in distribution])

    def result(self) -> ForwardResult:
        return ForwardResult(
            memoryview(self.tokens),
            memoryview(self.probabilities),
            memoryview(self.lengths),
            memoryview(self.distribution_tokens),
            memoryview(self.distribution_probabilities),
        )


def stub_card(options: StubOptions) -> ModelCard:
    grid = Grid(
        rows=options.rows,
        columns=options.columns,
        width=options.columns * PIXELS_PER_TOKEN,
        height=options.rows * PIXELS_PER_TOKEN,
    )
    return ModelCard(
        family="stub",
        name="stub",
        parameter_count=0,
        code_count=options.code_count,
        row_end=options.row_end,
        grids=(grid,),
        conditioning=ClassCard(class_count=CLASS_COUNT, class_names=None),
        branches=("conditional", "unconditional"),
        defaults=SamplingDefaults(guidance_scale=1.0, temperature=1.0, top_k=0, top_p=1.0, window=8),
        image_decoder=ImageDecoderCard(pixels_per_token=PIXELS_PER_TOKEN),
        kv_bytes_per_slot=5,
    )
