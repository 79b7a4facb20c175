"""The wire, version 2, as msgspec structs: a mirror of `src/protocol/messages.ts`, tested against its JSON Schema.

Attributes are snake_case here and camelCase on the wire. Bounds are those of the TypeScript side.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from zipar_worker.errors import Detail, ErrorCode
from zipar_worker.wire.arrays import ArrayType

PROTOCOL_VERSION = 2

HEADER_BYTES = 1 << 20
FRAME_BYTES = 1 << 28
FRAME_COUNT = 8
SEQUENCE_COUNT = 4096
IMAGE_COUNT = 1024
QUERY_COUNT = 1 << 20
PROMPT_CHARACTERS = 1 << 16
TOKEN_CHARACTERS = 128
WARNING_COUNT = 16
WARNING_CHARACTERS = 4096
GRID_SIDE = 1024

WANT_NONE = 0
WANT_DRAW = 1
WANT_DISTRIBUTION = 2

Index: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Counter: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=GRID_SIDE)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(gt=0, le=1)]
PromptText: TypeAlias = Annotated[str, Meta(max_length=PROMPT_CHARACTERS)]
Path: TypeAlias = Annotated[str, Meta(min_length=1)]
Label: TypeAlias = Annotated[str, Meta(max_length=64)]
Warnings: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(max_length=WARNING_CHARACTERS)], ...], Meta(max_length=WARNING_COUNT)
]
"""What the user should know although it is no error."""
TypeName: TypeAlias = Literal["float32", "bfloat16", "float16"]
"""The number type of weights and K/V."""


WeightForm: TypeAlias = Literal["full", "int8"]
"""Of the matrices in the decoder's layers: numbers of the model's type, or int8 with a scale for each row."""

KvCacheForm: TypeAlias = Literal["full", "int8"]
"""Of keys and values: numbers of the model's type, or int8 with a scale for each head of each slot."""


class Record(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A map on the wire."""


class Frame(Record, frozen=True, kw_only=True):
    name: Label
    dtype: ArrayType
    shape: Annotated[tuple[Index, ...], Meta(max_length=4)]


Frames: TypeAlias = Annotated[tuple[Frame, ...], Meta(max_length=FRAME_COUNT)]
NoFrames: TypeAlias = Annotated[tuple[Frame, ...], Meta(max_length=0)]


# Requests: SDK to worker


class RequestHeader(Record, frozen=True, kw_only=True):
    epoch: Counter
    request: Counter
    frames: Frames


class Size(Record, frozen=True, kw_only=True):
    """In pixels."""

    width: Index
    height: Index


class PathSource(Record, frozen=True, kw_only=True, tag="path"):
    """Absolute path of a directory or of a weights file on this machine."""

    path: Path


class HubSource(Record, frozen=True, kw_only=True, tag="hub"):
    """A repository of the Hugging Face hub, or one file or folder in it."""

    repository: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+\Z")]
    path: Path | None
    revision: Path | None
    """Branch, tag or commit; None: the main branch."""


Source: TypeAlias = PathSource | HubSource


class ModelReference(Record, frozen=True, kw_only=True):
    weights: Source
    vq: Source | None
    """The image tokenizer, when it does not lie beside the weights."""
    text_encoder: Source | None
    """The text encoder or text tokenizer, when it does not lie beside the weights."""
    size: Size | None
    """Image size, for checkpoints that do not say."""
    weights_key: Annotated[str, Meta(min_length=1, max_length=128)] | None
    """Which of several sets of weights in a file is meant, e.g. "ema"."""


DEVICE_PATTERN = r"^(auto|cpu(\+cpu){0,15}|cuda|cuda:[0-9]+(\+cuda:[0-9]+){0,15})\Z"


class LoadHeader(RequestHeader, frozen=True, kw_only=True):
    model: ModelReference
    device: Annotated[str, Meta(pattern=DEVICE_PATTERN)]
    dtype: Literal["auto"] | TypeName
    weights: WeightForm
    kv_cache: KvCacheForm


class Init(LoadHeader, frozen=True, kw_only=True, tag="init"):
    protocol_version: Index
    image_count: Annotated[int, Meta(ge=1, le=IMAGE_COUNT)]
    """Images that the K/V cache shall hold: a cache row for each branch of each."""
    fewer_images: bool
    """Whether fewer will do, at least one, where the memory does not suffice."""
    cuda_graphs: bool
    """Whether forwards of few queries run as CUDA graphs, where the model runs on a GPU."""


class Describe(LoadHeader, frozen=True, kw_only=True, tag="describe"):
    """Reads what a checkpoint is, without loading it."""


class ClassConditioning(Record, frozen=True, kw_only=True, tag="class"):
    class_index: Index


class TextConditioning(Record, frozen=True, kw_only=True, tag="text"):
    prompt: PromptText
    negative_prompt: PromptText | None
    """None: the family's own negative prompt."""


class EncodePrompt(RequestHeader, frozen=True, kw_only=True, tag="encode-prompt"):
    sequence: Counter
    cache_rows: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=4)]
    """One row per branch, in the card's branch order; one row alone is the conditional branch."""
    rows: Side
    columns: Side
    conditioning: ClassConditioning | TextConditioning


class ForwardSequence(Record, frozen=True, kw_only=True):
    """What a forward needs to know of one sequence, whose queries, runs and uniforms follow in the frames."""

    sequence: Counter
    branches: Annotated[tuple[Annotated[int, Meta(ge=0, le=3)], ...], Meta(min_length=1, max_length=4)]
    """Which branches of the sequence run, as ascending indices; one alone draws without guidance."""
    query_count: Annotated[int, Meta(ge=1, le=QUERY_COUNT)]
    run_count: Annotated[int, Meta(ge=1, le=QUERY_COUNT)]
    draw_count: Annotated[int, Meta(ge=0, le=QUERY_COUNT)]
    guidance_scale: Annotated[float, Meta(ge=-1000, le=1000)]
    temperature: Annotated[float, Meta(ge=0, le=1000)]
    top_k: Index
    top_p: Share


class Forward(RequestHeader, frozen=True, kw_only=True, tag="forward"):
    sequences: Annotated[tuple[ForwardSequence, ...], Meta(min_length=1, max_length=SEQUENCE_COUNT)]


class DecodeImage(RequestHeader, frozen=True, kw_only=True, tag="decode-image"):
    pass


class Profile(RequestHeader, frozen=True, kw_only=True, tag="profile"):
    """Where the attention of a finished image goes."""

    sequence: Counter


class Release(RequestHeader, frozen=True, kw_only=True, tag="release"):
    sequences: Annotated[tuple[Counter, ...], Meta(max_length=SEQUENCE_COUNT)]


class StatsRequest(RequestHeader, frozen=True, kw_only=True, tag="stats"):
    pass


class Refuse(Record, frozen=True, kw_only=True, tag="refuse"):
    """Turns away a worker that has said hello."""

    epoch: Counter
    request: Counter
    frames: NoFrames
    reason: Literal["protocol-version", "token", "replayed"]
    message: str


class Shutdown(RequestHeader, frozen=True, kw_only=True, tag="shutdown"):
    pass


Request: TypeAlias = (
    Init | Describe | EncodePrompt | Forward | DecodeImage | Profile | Release | StatsRequest | Refuse | Shutdown
)


# Replies: worker to SDK


class ErrorBody(Record, frozen=True, kw_only=True):
    code: ErrorCode
    message: str
    traceback: str | UnsetType = UNSET
    details: dict[str, Detail] | UnsetType = UNSET


class Hello(Record, frozen=True, kw_only=True, tag="hello"):
    epoch: Counter
    frames: NoFrames = ()
    protocol_version: Index
    worker_version: Label
    pid: Index
    token: Annotated[str, Meta(max_length=TOKEN_CHARACTERS)]


class ReplyHeader(Record, frozen=True, kw_only=True):
    epoch: Counter
    request: Counter
    frames: Frames


class Progress(ReplyHeader, frozen=True, kw_only=True, tag="progress"):
    phase: Label
    completed: NotNegative
    total: NotNegative | None
    unit: Annotated[str, Meta(max_length=16)]


class PulseReply(ReplyHeader, frozen=True, kw_only=True, tag="pulse"):
    count: Counter
    """Grows with every layer, tensor and report of progress."""


class Grid(Record, frozen=True, kw_only=True):
    """`rows` x `columns` tokens that make `width` x `height` pixels."""

    rows: Index
    columns: Index
    width: Index
    height: Index


class ClassCard(Record, frozen=True, kw_only=True, tag="class"):
    class_count: Positive
    class_names: tuple[str, ...] | None


class TextCard(Record, frozen=True, kw_only=True, tag="text"):
    negative_prompt: str | None
    """What the unconditional branch is told unless the user says otherwise; None: the family takes no such prompt."""
    max_prompt_tokens: Positive


class SamplingDefaults(Record, frozen=True, kw_only=True):
    guidance_scale: float
    temperature: NotNegative
    top_k: Index
    top_p: Share
    window: Positive


class ImageDecoderCard(Record, frozen=True, kw_only=True):
    pixels_per_token: Positive


class ModelCard(Record, frozen=True, kw_only=True):
    """Everything that TypeScript knows of a model family."""

    family: Label
    name: Annotated[str, Meta(max_length=256)]
    parameter_count: Counter
    code_count: Annotated[int, Meta(ge=2, le=2**24)]
    """Size of the codebook; tokens on the wire are below it."""
    row_end: Literal["none", "token"]
    grids: Annotated[tuple[Grid, ...], Meta(min_length=1, max_length=1024)]
    """Token grids that the checkpoint knows, the default first."""
    conditioning: ClassCard | TextCard
    branches: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4)]
    """Guidance branches, the conditional first."""
    defaults: SamplingDefaults
    image_decoder: ImageDecoderCard | None
    """None: tokens can be generated but not turned into pixels."""
    kv_bytes_per_slot: Counter
    """K and V of all layers, for one slot of one branch."""


class ReadyLimits(Record, frozen=True, kw_only=True):
    cache_row_count: Index
    slot_count: Index


class Ready(ReplyHeader, frozen=True, kw_only=True, tag="ready"):
    card: ModelCard
    device: str
    dtype: TypeName
    limits: ReadyLimits
    warnings: Warnings


class WeightsPart(Record, frozen=True, kw_only=True):
    part: Label
    bytes: Counter


class Described(ReplyHeader, frozen=True, kw_only=True, tag="described"):
    card: ModelCard
    device: str
    dtype: TypeName
    weights: Annotated[tuple[WeightsPart, ...], Meta(max_length=16)]
    """Bytes on the device once loaded."""
    slot_count: Index
    cache_bytes_per_image: Counter
    free_bytes: Counter | None
    warnings: Warnings


class BranchReply(Record, frozen=True, kw_only=True):
    name: str
    padding: Index
    """So many first slots are never attended to."""


class PromptEncoded(ReplyHeader, frozen=True, kw_only=True, tag="prompt-encoded"):
    prompt_length: Positive
    branches: Annotated[tuple[BranchReply, ...], Meta(min_length=1, max_length=4)]
    warnings: Warnings


class ForwardDone(ReplyHeader, frozen=True, kw_only=True, tag="forward-done"):
    warnings: Warnings


class ImageDecoded(ReplyHeader, frozen=True, kw_only=True, tag="image-decoded"):
    pass


class ProfileDone(ReplyHeader, frozen=True, kw_only=True, tag="profile-done"):
    pass


class Done(ReplyHeader, frozen=True, kw_only=True, tag="done"):
    pass


class StatsReport(ReplyHeader, frozen=True, kw_only=True, tag="stats-report"):
    forward_count: Counter
    forward_ms: NotNegative
    sequence_count: Index
    resident_bytes: Counter
    device_bytes: Counter | None


class ErrorReply(ReplyHeader, frozen=True, kw_only=True, tag="error"):
    error: ErrorBody


class Fatal(Record, frozen=True, kw_only=True, tag="fatal"):
    epoch: Counter
    frames: NoFrames = ()
    error: ErrorBody


class Leaving(Record, frozen=True, kw_only=True, tag="leaving"):
    """This worker ends once it holds no sequences, and shall get no new ones."""

    epoch: Counter
    frames: NoFrames = ()


Reply: TypeAlias = (
    Hello
    | Progress
    | PulseReply
    | Ready
    | Described
    | PromptEncoded
    | ForwardDone
    | ImageDecoded
    | ProfileDone
    | Done
    | StatsReport
    | ErrorReply
    | Fatal
    | Leaving
)
