"""Builders of requests as the SDK sends them, for the tests of the wire."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from zipar_worker.wire.protocol import PROTOCOL_VERSION

EPOCH = 5
FORMATS = {"int32": "i", "float32": "f", "float64": "d", "uint8": "B"}


@dataclass
class Query:
    token: int
    slot: int
    want: int = 0


@dataclass
class Entry:
    """One sequence of a forward."""

    sequence: int
    queries: list[Query]
    runs: list[tuple[int, int]]
    uniforms: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)


def pack(message: Any, frames: Sequence[bytes] = ()) -> list[bytes]:
    return [msgspec.msgpack.encode(message), *frames]


def request(operation: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": operation, "epoch": EPOCH, "request": number, "frames": [], **fields}


def init(number: int = 1, **fields: Any) -> dict[str, Any]:
    settings = {
        "protocolVersion": PROTOCOL_VERSION,
        "model": model("/models/stub"),
        "device": "cpu",
        "dtype": "auto",
        "weights": "full",
        "kvCache": "full",
        "imageCount": 2,
        "fewerImages": False,
        "cudaGraphs": False,
    }
    return request("init", number, **{**settings, **fields})


def model(path: str) -> dict[str, Any]:
    return {
        "weights": {"type": "path", "path": path},
        "vq": None,
        "textEncoder": None,
        "size": None,
        "weightsKey": None,
    }


def encode_prompt(number: int, sequence: int, rows: int, columns: int, **fields: Any) -> dict[str, Any]:
    settings = {
        "sequence": sequence,
        "cacheRows": [0],
        "rows": rows,
        "columns": columns,
        "conditioning": {"type": "class", "classIndex": 3},
    }
    return request("encode-prompt", number, **{**settings, **fields})


def forward(number: int, entries: Sequence[Entry]) -> list[bytes]:
    """The parts of a forward."""
    queries = [query for entry in entries for query in entry.queries]
    arrays = [
        frame("tokens", "int32", [query.token for query in queries]),
        frame("slots", "int32", [query.slot for query in queries]),
        frame("wants", "uint8", [query.want for query in queries]),
        frame("uniforms", "float64", [uniform for entry in entries for uniform in entry.uniforms]),
        frame("runs", "int32", [bound for entry in entries for run in entry.runs for bound in run], columns=2),
        frame("steps", "int32", [step for entry in entries for step in entry.steps or [0] * len(entry.queries)]),
    ]
    sequences = [
        {
            "sequence": entry.sequence,
            "branches": [0],
            "queryCount": len(entry.queries),
            "runCount": len(entry.runs),
            "drawCount": len(entry.uniforms),
            "guidanceScale": 1,
            "temperature": 1,
            "topK": 0,
            "topP": 1,
            **entry.settings,
        }
        for entry in entries
    ]
    header = request("forward", number, frames=[described for described, _ in arrays], sequences=sequences)
    return pack(header, [data for _, data in arrays])


def frame(name: str, dtype: str, values: Sequence[float], columns: int | None = None) -> tuple[dict[str, Any], bytes]:
    shape = [len(values)] if columns is None else [len(values) // columns, columns]
    return {"name": name, "dtype": dtype, "shape": shape}, array(FORMATS[dtype], values).tobytes()


def unpack(parts: Sequence[bytes]) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """A reply as a plain map and its frames as lists; checks what every reader of the wire relies on."""
    message = msgspec.msgpack.decode(parts[0])
    assert len(message["frames"]) == len(parts) - 1
    return message, dict(_values(message["frames"], parts[1:]))


def _values(frames: Sequence[dict[str, Any]], data: Sequence[bytes]) -> Iterator[tuple[str, list[float]]]:
    for described, raw in zip(frames, data, strict=True):
        count = 1
        for side in described["shape"]:
            count *= side
        yield described["name"], list(struct.unpack(f"<{count}{FORMATS[described['dtype']]}", raw))
