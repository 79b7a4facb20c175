"""The wire: whatever arrives is a request, is stale, or is a `protocol` error."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import EPOCH, Entry, Query, encode_prompt, forward, frame, init, pack, request

from zipar_worker.errors import WorkerError
from zipar_worker.wire import protocol
from zipar_worker.wire.arrays import FORMATS, Array, view_as
from zipar_worker.wire.codec import (
    DecodedRequest,
    RejectedRequest,
    UnreadableHeader,
    decode_request,
    describe_arrays,
    encode_reply,
)

PROTO = Path(__file__).resolve().parents[2] / "proto"
GOLDEN = sorted((PROTO / "golden").glob("*.json"))
REQUESTS = typing.get_args(protocol.Request)
REPLIES = typing.get_args(protocol.Reply)

A_FORWARD = forward(
    9,
    [
        Entry(1, [Query(0, 0), Query(7, 1, 1)], [(0, 2)], [0.25]),
        Entry(2, [Query(3, 5, 2)], [(0, 3), (5, 6)]),
    ],
)
CODES, CODES_BYTES = frame("codes", "int32", [1, 2, 3, 4, 5, 6], columns=3)
VALID = [
    pack(init()),
    pack(encode_prompt(2, 1, 8, 8)),
    A_FORWARD,
    pack(request("decode-image", frames=[CODES]), [CODES_BYTES]),
    pack(request("profile", sequence=1, frames=[CODES]), [CODES_BYTES]),
    pack(request("release", sequences=[1, 2])),
    pack(request("stats")),
    pack(request("refuse", 0, reason="token", message="not this one")),
    pack(request("shutdown")),
]


def decode(parts: list[bytes]) -> DecodedRequest:
    decoded = decode_request(parts, EPOCH)
    assert decoded is not None
    return decoded


@pytest.mark.parametrize("parts", VALID, ids=lambda parts: msgspec.msgpack.decode(parts[0])["type"])
def test_every_request_decodes(parts: list[bytes]) -> None:
    decoded = decode(parts)
    assert msgspec.to_builtins(decoded.request, str_keys=True)["type"] == msgspec.msgpack.decode(parts[0])["type"]


def test_arrays_arrive_with_their_types_and_shapes() -> None:
    tokens, slots, wants, uniforms, runs, steps = decode(A_FORWARD).arrays
    assert (tokens.data.tolist(), slots.data.tolist(), wants.data.tolist()) == ([0, 7, 3], [0, 1, 5], [0, 1, 2])
    assert (uniforms.data.tolist(), runs.data.tolist(), runs.shape) == ([0.25], [0, 2, 0, 3, 5, 6], (3, 2))
    assert (steps.data.tolist(), steps.shape) == ([0, 0, 0], (3,))


def test_a_request_of_another_epoch_is_dropped() -> None:
    assert decode_request(A_FORWARD, EPOCH + 1) is None
    assert decode_request(pack({"type": "unheard-of", "epoch": EPOCH, "request": 1}), EPOCH + 1) is None


def test_an_unknown_operation_is_a_protocol_error_that_answers_the_request() -> None:
    with pytest.raises(RejectedRequest, match="explode") as caught:
        decode_request(pack(request("explode", 17)), EPOCH)
    assert (caught.value.code, caught.value.request) == ("protocol", 17)


def test_another_protocol_version_is_told_so_even_with_fields_that_this_one_does_not_know() -> None:
    with pytest.raises(RejectedRequest) as caught:
        decode_request(pack(init(protocolVersion=protocol.PROTOCOL_VERSION + 1, colour="blue")), EPOCH)
    assert caught.value.code == "protocol-version"


def test_an_unknown_field_is_a_protocol_error() -> None:
    with pytest.raises(RejectedRequest, match="colour") as caught:
        decode_request(pack(request("stats", colour="blue")), EPOCH)
    assert caught.value.code == "protocol"


def test_counters_that_javascript_packs_as_floats_are_read() -> None:
    wide = 2.0**40
    decoded = decode_request(pack({**request("release", sequences=[wide, 2]), "epoch": wide}), 2**40)
    assert decoded is not None
    assert msgspec.structs.asdict(decoded.request)["sequences"] == (2**40, 2)


def test_a_header_without_a_request_number_cannot_be_answered() -> None:
    with pytest.raises(UnreadableHeader):
        decode_request([b"\xc1"], EPOCH)
    with pytest.raises(UnreadableHeader):
        decode_request([], EPOCH)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frames: frames.pop(), "expected 6 frames"),
        (lambda frames: frames[0].update(name="token"), "expected frame 'tokens'"),
        (lambda frames: frames[0].update(dtype="float32"), "int32"),
        (lambda frames: frames[0].update(shape=[3, 1]), "1 dimension"),
        (lambda frames: frames[0].update(shape=[2**31 - 1]), "8589934588"),
        (lambda frames: frames.reverse(), "expected frame 'tokens'"),
    ],
    ids=["missing", "name", "dtype", "rank", "length", "order"],
)
def test_frames_that_disagree_with_the_header_are_protocol_errors(change: Any, said: str) -> None:
    header = msgspec.msgpack.decode(A_FORWARD[0])
    change(header["frames"])
    with pytest.raises(RejectedRequest, match=said) as caught:
        decode_request([msgspec.msgpack.encode(header), *A_FORWARD[1:]], EPOCH)
    assert (caught.value.code, caught.value.request) == ("protocol", 9)


def test_too_many_frames_and_too_large_headers_are_refused_before_they_are_read() -> None:
    with pytest.raises(UnreadableHeader, match="at most 8 frames"):
        decode_request([A_FORWARD[0], *[b""] * 9], EPOCH)
    with pytest.raises(UnreadableHeader, match="at most 1048576 bytes"):
        decode_request([bytes((1 << 20) + 1)], EPOCH)


def decodes_or_is_a_protocol_error(parts: list[bytes]) -> None:
    try:
        decode_request(parts, EPOCH)
    except WorkerError as error:
        assert error.code in ("protocol", "protocol-version")


@settings(deadline=None)
@given(parts=st.sampled_from(VALID), data=st.data())
def test_no_change_of_bytes_makes_decoding_fail_otherwise(parts: list[bytes], data: st.DataObject) -> None:
    changed = list(parts)
    part = data.draw(st.integers(0, len(parts) - 1))
    start = data.draw(st.integers(0, len(changed[part])))
    end = data.draw(st.integers(start, len(changed[part])))
    changed[part] = changed[part][:start] + data.draw(st.binary(max_size=16)) + changed[part][end:]
    decodes_or_is_a_protocol_error(changed)


@settings(deadline=None)
@given(parts=st.lists(st.binary(max_size=64), max_size=12))
def test_noise_makes_decoding_fail_in_no_other_way(parts: list[bytes]) -> None:
    decodes_or_is_a_protocol_error(parts)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(parts=st.sampled_from(VALID), data=st.data())
def test_no_change_of_a_field_makes_decoding_fail_otherwise(parts: list[bytes], data: st.DataObject) -> None:
    header = msgspec.msgpack.decode(parts[0])
    header[data.draw(st.sampled_from(sorted(header)))] = data.draw(VALUES)
    decodes_or_is_a_protocol_error([msgspec.msgpack.encode(header), *parts[1:]])


@settings(deadline=None)
@given(codes=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_replies_carry_their_arrays_bit_for_bit(codes: list[int]) -> None:
    described, raw = frame("drawnTokens", "int32", codes)
    arrays = [Array("drawnTokens", "int32", (len(codes),), view_as(raw, "int32"))]
    done = protocol.ForwardDone(epoch=1, request=2, frames=describe_arrays(arrays), warnings=())
    header, data = encode_reply(done, arrays)
    assert msgspec.msgpack.decode(header)["frames"] == [described]
    assert bytes(data) == raw


def test_an_array_refuses_data_of_another_type_or_length() -> None:
    with pytest.raises(ValueError, match="expected a flat view of 2 elements"):
        Array("x", "int32", (2,), view_as(bytes(12), "int32"))
    with pytest.raises(ValueError, match="format 'i'"):
        Array("x", "int32", (2,), view_as(bytes(8), "float32"))


# Golden messages and the schema, which the TypeScript side generates


def golden(path: Path) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return message


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_messages_are_read_and_written_as_in_typescript(path: Path) -> None:
    example = golden(path)
    header = bytes.fromhex(example["headerHex"])
    frames = [bytes.fromhex(part["hex"]) for part in example["frames"]]
    message = example["message"]
    if example["direction"] == "request":
        decoded = decode_request([header, *frames], message["epoch"])
        assert decoded is not None
        assert msgspec.json.decode(msgspec.json.encode(decoded.request)) == message
        assert [array.data.tobytes() for array in decoded.arrays] == frames
    else:
        reply = msgspec.convert(message, protocol.Reply)
        arrays = [
            Array(part["name"], part["dtype"], tuple(part["shape"]), view_as(data, part["dtype"]))
            for part, data in zip(message["frames"], frames, strict=True)
        ]
        encoded = encode_reply(reply, arrays)
        assert msgspec.msgpack.decode(encoded[0]) == msgspec.msgpack.decode(header) == message
        assert [bytes(part) for part in encoded[1:]] == frames


def test_golden_messages_cover_every_message() -> None:
    covered = {golden(path)["message"]["type"] for path in GOLDEN}
    assert covered == {tag(struct) for struct in (*REQUESTS, *REPLIES)}


def tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


def test_the_structs_have_the_fields_of_the_json_schema() -> None:
    schema = json.loads((PROTO / "protocol.schema.json").read_text(encoding="utf-8"))
    directions = [schema["$defs"][direction]["oneOf"] for direction in ("request", "reply")]
    messages = [reference["$ref"].removeprefix("#/$defs/") for references in directions for reference in references]
    assert sorted(messages) == sorted(tag(struct) for struct in (*REQUESTS, *REPLIES))
    for struct in (*REQUESTS, *REPLIES):
        compare(struct, schema["$defs"][tag(struct)], schema, tag(struct))


def compare(struct: type[msgspec.Struct], schema: dict[str, Any], root: dict[str, Any], where: str) -> None:
    """Names and required names are equal, in nested structs too."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    is_tagged = struct.__struct_config__.tag is not None
    optional = {name for name, field in fields.items() if allows_unset(field.type)}
    assert set(schema["properties"]) == set(fields) | ({"type"} if is_tagged else set()), where
    assert set(schema["required"]) == (set(fields) - optional) | ({"type"} if is_tagged else set()), where
    assert schema["additionalProperties"] is False, where
    for name, field in fields.items():
        structs = list(structs_in(field.type))
        schemas = [found for found in nested_objects(schema["properties"][name], root) if "properties" in found]
        assert len(structs) == len(schemas), f"{where}.{name}"
        for inner, found in zip(in_order(structs), sorted(schemas, key=schema_order), strict=True):
            compare(inner, found, root, f"{where}.{name}")


def allows_unset(annotation: Any) -> bool:
    return msgspec.UnsetType in typing.get_args(annotation)


def structs_in(annotation: Any) -> typing.Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, msgspec.Struct):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from structs_in(argument)


def nested_objects(node: Any, root: dict[str, Any]) -> typing.Iterator[dict[str, Any]]:
    """The objects directly under a property: through references, arrays and unions, not through other objects."""
    if "$ref" in node:
        found = root
        for key in node["$ref"].removeprefix("#").strip("/").split("/"):
            found = found[key]
        yield from nested_objects(found, root)
    elif "properties" in node:
        yield node
    else:
        for part in [node.get("items", {}), *node.get("anyOf", []), *node.get("oneOf", [])]:
            if part:
                yield from nested_objects(part, root)


def in_order(structs: list[type[msgspec.Struct]]) -> list[type[msgspec.Struct]]:
    return sorted(structs, key=lambda struct: str(struct.__struct_config__.tag or ""))


def schema_order(schema: dict[str, Any]) -> str:
    return str(schema["properties"].get("type", {}).get("const", ""))


def test_every_array_type_of_the_wire_has_the_size_of_its_format() -> None:
    for dtype, code in FORMATS.items():
        assert view_as(bytes(8), dtype).format == code
