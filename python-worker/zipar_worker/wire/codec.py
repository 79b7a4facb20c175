"""Multipart messages to requests and back: `[header, frame, ...]`, a msgpack map and the raw arrays that it lists.

Every size is checked before anything of that size is allocated. Whatever a peer sends, decoding returns a request,
returns None for a stale one, or raises `WorkerError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import msgspec

from zipar_worker.errors import WorkerError
from zipar_worker.wire.arrays import ITEM_BYTES, Array, ArrayType, view_as
from zipar_worker.wire.protocol import (
    FRAME_BYTES,
    FRAME_COUNT,
    HEADER_BYTES,
    PROTOCOL_VERSION,
    Counter,
    DecodeImage,
    Forward,
    Frame,
    Profile,
    Reply,
    Request,
)

FrameSpecs: TypeAlias = tuple[tuple[str, ArrayType, int], ...]
"""Name, dtype and rank of each frame of a message, in order."""

_NO_FRAMES: FrameSpecs = ()
_REQUEST_FRAMES: dict[type[Any], FrameSpecs] = {
    Forward: (
        ("tokens", "int32", 1),
        ("slots", "int32", 1),
        ("wants", "uint8", 1),
        ("uniforms", "float64", 1),
        ("runs", "int32", 2),
        ("steps", "int32", 1),
    ),
    DecodeImage: (("codes", "int32", 2),),
    Profile: (("codes", "int32", 2),),
}


class DecodedRequest(NamedTuple):
    """`arrays` view the memory of the received frames."""

    request: Request
    arrays: tuple[Array, ...]


class Envelope(msgspec.Struct, rename="camel"):
    """What can be told of a header that is not a valid request: whom to answer."""

    epoch: Counter
    request: Counter
    protocol_version: int | None = None


class UnreadableHeader(WorkerError):
    """A header that does not even say which request it is: nobody can be answered, the peers are out of step."""

    def __init__(self, message: str) -> None:
        super().__init__("protocol", message)


class RejectedRequest(WorkerError):
    """A request that says its number but is not valid otherwise."""

    def __init__(self, error: WorkerError, request: int) -> None:
        super().__init__(error.code, error.message, error.details)
        self.request = request


_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_envelope_decoder = msgspec.msgpack.Decoder(Envelope, strict=False)
_encoder = msgspec.msgpack.Encoder()


def decode_request(parts: Sequence[bytes], epoch: int) -> DecodedRequest | None:
    """Decodes a request of this `epoch`; None for one of another epoch, which is stale and dropped.

    Raises `RejectedRequest` (`protocol`, `protocol-version`) where the request can be answered, `UnreadableHeader`
    where it cannot.
    """
    _check_bounds(parts)
    header = parts[0]
    try:
        request = _request_decoder.decode(header)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        repaired = _decode_wide_integers(header)
        if repaired is None:
            _reject(header, epoch, error)
            return None
        request = repaired
    if request.epoch != epoch:
        return None
    try:
        arrays = decode_arrays(request.frames, parts, _REQUEST_FRAMES.get(type(request), _NO_FRAMES))
    except WorkerError as error:
        raise RejectedRequest(error, request.request) from error
    return DecodedRequest(request, arrays)


def decode_arrays(frames: Sequence[Frame], parts: Sequence[bytes], expected: FrameSpecs) -> tuple[Array, ...]:
    """Views the parts after the header as the arrays that `frames` describes. Raises `protocol` on any disagreement."""
    if len(frames) != len(expected) or len(parts) != len(expected) + 1:
        raise WorkerError(
            "protocol",
            f"expected {len(expected)} frames ({', '.join(name for name, _, _ in expected) or 'none'}), "
            f"the header lists {len(frames)}, received {len(parts) - 1}",
        )
    arrays = []
    for frame, data, (name, dtype, rank) in zip(frames, parts[1:], expected, strict=True):
        if frame.name != name or frame.dtype != dtype or len(frame.shape) != rank:
            raise WorkerError(
                "protocol",
                f"expected frame {name!r} of {dtype} with {rank} dimension(s), the header lists {frame.name!r} of "
                f"{frame.dtype} with shape {list(frame.shape)}",
            )
        expected_bytes = prod(frame.shape) * ITEM_BYTES[dtype]
        if len(data) != expected_bytes:
            raise WorkerError(
                "protocol",
                f"frame {name!r} of {dtype} with shape {list(frame.shape)} needs {expected_bytes} bytes, "
                f"received {len(data)}",
            )
        arrays.append(Array(name, dtype, frame.shape, view_as(data, dtype)))
    return tuple(arrays)


def describe_arrays(arrays: Sequence[Array]) -> tuple[Frame, ...]:
    """The header's list of frames for arrays about to be sent."""
    return tuple([Frame(name=array.name, dtype=array.dtype, shape=array.shape) for array in arrays])


def encode_reply(reply: Reply, arrays: Sequence[Array] = ()) -> list[bytes | memoryview]:
    """The parts of a reply whose `frames` describe `arrays`."""
    return [_encoder.encode(reply), *[array.data for array in arrays]]


def _check_bounds(parts: Sequence[bytes]) -> None:
    if not 1 <= len(parts) <= 1 + FRAME_COUNT:
        raise UnreadableHeader(f"a message has a header and at most {FRAME_COUNT} frames, received {len(parts)} parts")
    if len(parts[0]) > HEADER_BYTES:
        raise UnreadableHeader(f"a header has at most {HEADER_BYTES} bytes, received {len(parts[0])}")
    largest = max([len(part) for part in parts])
    if largest > FRAME_BYTES:
        raise UnreadableHeader(f"a frame has at most {FRAME_BYTES} bytes, received {largest}")


def _decode_wide_integers(header: bytes) -> Request | None:
    """JavaScript packs whole numbers from 2^32 on as floats; reads a request that has such counters."""
    try:
        request: Request = msgspec.convert(_with_integers(msgspec.msgpack.decode(header)), Request)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError):
        return None
    return request


def _with_integers(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _with_integers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_integers(entry) for entry in value]
    return value


def _reject(header: bytes, epoch: int, error: Exception) -> None:
    """Raises what the sender of an invalid header is told; returns where it is of another epoch."""
    try:
        envelope = _envelope_decoder.decode(header)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UnreadableHeader(f"the header is no request of protocol version {PROTOCOL_VERSION}: {error}") from error
    if envelope.epoch != epoch:
        return
    if envelope.protocol_version not in (None, PROTOCOL_VERSION):
        raise RejectedRequest(unsupported_version(envelope.protocol_version), envelope.request) from error
    failure = WorkerError("protocol", f"the header is no request of protocol version {PROTOCOL_VERSION}: {error}")
    raise RejectedRequest(failure, envelope.request) from error


def unsupported_version(received: int | None) -> WorkerError:
    return WorkerError(
        "protocol-version",
        f"this worker speaks protocol version {PROTOCOL_VERSION}, the SDK speaks version {received}; "
        "install the worker that belongs to the SDK",
        {"expected": PROTOCOL_VERSION, "received": received},
    )
