"""What the first rank asks of the others, over a socket pair: each message with its length before it, no pickle.

What is not answered cannot fail alone: a rank that cannot do it ends, and the group with it.
"""

from __future__ import annotations

import socket
from typing import TypeAlias, TypeVar

import msgspec

from zipar_worker.execute.contract import PromptBranch, SequenceFeed
from zipar_worker.wire.protocol import ErrorBody, Init

_LENGTH_BYTES = 4


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Answered with the number of images for which there is room."""

    init: Init


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Not answered."""


class Load(msgspec.Struct, frozen=True, tag=True):
    """Answered once the share is loaded."""

    image_count: int


class HoldPrompt(msgspec.Struct, frozen=True, tag=True):
    """Its embeddings, of this shape, come from the first rank. Not answered."""

    sequence: int
    cache_rows: tuple[int, ...]
    shape: tuple[int, int, int]
    branches: tuple[PromptBranch, ...]


class RunForward(msgspec.Struct, frozen=True, tag=True):
    """Not answered."""

    feeds: list[SequenceFeed]


class RunProfile(msgspec.Struct, frozen=True, tag=True):
    """codes: row by row. Not answered."""

    sequence: int
    rows: int
    columns: int
    codes: list[int]


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Not answered."""

    sequences: list[int]


class CountBytes(msgspec.Struct, frozen=True, tag=True):
    """Answered with the memory allocated on the accelerator."""


Order: TypeAlias = Prepare | Connect | Load | HoldPrompt | RunForward | RunProfile | Forget | CountBytes


class Outcome(msgspec.Struct, frozen=True, tag=True):
    value: int = 0
    error: ErrorBody | None = None


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """The rank has come further with what is to be answered."""


Word: TypeAlias = Outcome | Advanced

Message = TypeVar("Message")


def send(connection: socket.socket, message: Order | Word) -> None:
    """Raises `OSError` where the other side is gone."""
    body = msgspec.msgpack.encode(message)
    connection.sendall(len(body).to_bytes(_LENGTH_BYTES, "little") + body)


def receive(connection: socket.socket, decoder: msgspec.msgpack.Decoder[Message]) -> Message:
    """Raises `EOFError` or `OSError` where the other side is gone."""
    length = int.from_bytes(_read(connection, _LENGTH_BYTES), "little")
    return decoder.decode(_read(connection, length))


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("the other rank is gone")
        data += part
    return bytes(data)
