"""Both sides of the wire refuse the same: every field of every message, at and beyond its limits.

The schema is generated from the TypeScript side; the structs are the worker's own. A value that one takes and the other
refuses would be found by a user first.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from zipar_worker.wire import protocol

PROTO = Path(__file__).resolve().parents[2] / "proto"
SCHEMA = json.loads((PROTO / "protocol.schema.json").read_bytes())
GOLDEN = {path.stem: json.loads(path.read_bytes()) for path in sorted((PROTO / "golden").glob("*.json"))}

MessagePath = tuple[str | int, ...]

INTEGERS = (-1, 0, 1, 2, 3, 4, 5, 63, 64, 65, 1023, 1024, 1025, 4096, 4097, 2**20, 2**20 + 1, 2**24, 2**24 + 1)
LARGE_INTEGERS = (2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1)
FRACTIONS = (-1000.5, -999.5, -0.5, 1e-9, 0.5, 1.5, 999.5, 1000.5)
TEXTS = ("", "x" * 16, "x" * 17, "x" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 256, "x" * 257, "x" * 2**16)
STRANGE_TEXTS = (
    "x" * (2**16 + 1),
    "cuda:",
    "cuda:1",
    "cpu ",
    "a/b",
    "a/b/c",
    "ä/b",
    "../b",
    "int64",
    "é",
    "😀",
    "\0",
)
OTHERS = (None, True, [], {}, [1], [0, 1, 2, 3, 4], [[]], {"x": 1})
VALUES: tuple[Any, ...] = (*INTEGERS, *LARGE_INTEGERS, *FRACTIONS, *TEXTS, *STRANGE_TEXTS, *OTHERS)


def leaves(value: Any, path: MessagePath = ()) -> Iterator[MessagePath]:
    """Paths of everything within a message, lists and maps too."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:1]):
            yield from leaves(inner, (*path, index))


def changed(message: Any, path: MessagePath, value: Any) -> Any:
    copied = copy.deepcopy(message)
    holder = copied
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return copied


def longer_lists(message: Any, path: MessagePath) -> Iterator[Any]:
    """The message with the list at `path` at lengths around the limits."""
    holder = message
    for step in path:
        holder = holder[step]
    if isinstance(holder, list) and holder:
        for length in (0, 4, 5, 8, 9, 16, 17, 1024, 1025, 4096, 4097):
            yield changed(message, path, [copy.deepcopy(holder[0]) for _ in range(length)])


def taken_by_structs(message: Any, direction: str) -> bool:
    try:
        msgspec.convert(message, protocol.Request if direction == "request" else protocol.Reply)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", GOLDEN)
def test_structs_and_schema_agree_on_every_field_at_and_beyond_its_limits(name: str) -> None:
    example = GOLDEN[name]
    message, direction = example["message"], example["direction"]
    assert {"$ref": f"#/$defs/{message['type']}"} in SCHEMA["$defs"][direction]["oneOf"]
    validator = Draft202012Validator({"$ref": f"#/$defs/{message['type']}", "$defs": SCHEMA["$defs"]})
    assert validator.is_valid(message) and taken_by_structs(message, direction)
    refused = compared = 0
    disagreements = []
    for path in leaves(message):
        if path == ("type",):
            continue
        variants = [changed(message, path, value) for value in VALUES]
        for variant in [*variants, *longer_lists(message, path)]:
            verdicts = validator.is_valid(variant), taken_by_structs(variant, direction)
            compared += 1
            refused += not verdicts[0]
            if verdicts[0] != verdicts[1]:
                disagreements.append((path, str(variant)[:200], *verdicts))
    assert disagreements == []
    assert refused > compared / 4


@pytest.mark.parametrize("device", ["cpu\n", "cuda:٣"])
def test_a_pattern_means_here_what_it_means_in_typescript(device: str) -> None:
    # Python's `$` matches before a final line break, and its `\d` any digit of Unicode.
    assert not taken_by_structs({**GOLDEN["init"]["message"], "device": device}, "request")
