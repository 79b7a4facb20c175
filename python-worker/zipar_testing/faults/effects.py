"""What each planned fault does: to the process, to the model's logits, or to a reply on its way out."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from zipar_testing.faults.plan import Fault, FaultName
from zipar_worker.execute.progress_count import advance_
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.codec import encode_reply

EXIT_PLANNED = 9

_SLICE_SECONDS = 0.02
_FLOOD_LINE = b"flood " * 16 + b"\n"
_FLOOD_LINES = 100_000


def _die(fault: Fault) -> None:
    os.kill(_met(fault), signal.SIGKILL)


def _stop(fault: Fault) -> None:
    os.kill(_met(fault), signal.SIGSTOP)


def _met(fault: Fault) -> int:
    """This process, or one of those that it has started, in their order."""
    own = os.getpid()
    return own if fault.rank == 0 else int(Path(f"/proc/{own}/task/{own}/children").read_text().split()[fault.rank - 1])


def _hang(_fault: Fault) -> None:
    while True:
        time.sleep(_SLICE_SECONDS)


def _hang_with_lock(_fault: Fault) -> None:
    # PyDLL, other than CDLL, does not let go of the interpreter's lock.
    ctypes.PyDLL(None).sleep(3600)


def _segfault(_fault: Fault) -> None:
    ctypes.string_at(0)


def _exit(_fault: Fault) -> None:
    print(f"zipar_worker: planned to exit with code {EXIT_PLANNED}", file=sys.stderr, flush=True)
    os._exit(EXIT_PLANNED)


def _assert_on_device(_fault: Fault) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered (planned)")


def _run_out_of_memory(_fault: Fault) -> None:
    raise MemoryError("planned")


def _be_slow(fault: Fault) -> None:
    end = time.monotonic() + fault.ms / 1000
    while time.monotonic() < end:
        advance_()
        time.sleep(_SLICE_SECONDS)


def _leave(_fault: Fault) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _flood(_fault: Fault) -> None:
    for _ in range(_FLOOD_LINES):
        os.write(1, _FLOOD_LINE)


STRIKES: dict[FaultName, Callable[[Fault], None]] = {
    "die": _die,
    "stop": _stop,
    "hang": _hang,
    "hang-with-lock": _hang_with_lock,
    "segfault": _segfault,
    "exit": _exit,
    "device-assert": _assert_on_device,
    "out-of-memory": _run_out_of_memory,
    "slow": _be_slow,
    "flood": _flood,
    "leave": _leave,
    "split": _be_slow,
}


def poison_logits_(executor: Any) -> None:
    """Makes the next logits of a real model NaN. Raises `AttributeError` for the stub, which has none."""
    family = executor._family
    compute = family.logits

    def logits(hidden: Any) -> Any:
        family.logits = compute
        return compute(hidden) * float("nan")

    family.logits = logits


def spoilt_messages(fault: Fault, reply: Any, arrays: Sequence[Array]) -> list[list[bytes | memoryview]]:
    """The messages that are sent in the place of `reply`."""
    match fault.fault:
        case "corrupt-header":
            return [[b"\xc1 noise", *encode_reply(reply, arrays)[1:]]]
        case "corrupt-frame":
            header, *frames = encode_reply(reply, arrays)
            return [[header, *[b"\xff" * memoryview(data).nbytes for data in frames]]]
        case "truncate-frame":
            parts = encode_reply(reply, arrays)
            cut = 1 + _longest(arrays)
            parts[cut] = memoryview(parts[cut]).cast("B")[:-1]
            return [parts]
        case "wrong-dtype":
            swapped = {"int32": "float32", "float32": "int32", "uint8": "int32"}
            return [_with_frame(reply, arrays, lambda frame: replace(frame, dtype=swapped[frame.dtype]))]
        case "wrong-shape":
            return [
                _with_frame(reply, arrays, lambda frame: replace(frame, shape=(frame.shape[0] + 1, *frame.shape[1:])))
            ]
        case "reshape":
            return [_with_frame(reply, arrays, lambda frame: replace(frame, shape=_other_shape(frame.shape)))]
        case "nan-probabilities":
            return [encode_reply(reply, [_with_nan(array) for array in arrays])]
        case "wrong-epoch":
            return [encode_reply(replace(reply, epoch=reply.epoch - 1), arrays)]
        case "wrong-request":
            return [encode_reply(replace(reply, request=reply.request + 1_000_000), arrays)]
        case "duplicate-reply":
            return [encode_reply(reply, arrays)] * 2
        case "late-reply":
            time.sleep(fault.ms / 1000)
            return [encode_reply(reply, arrays)]
        case "wrong-token":
            return [encode_reply(replace(reply, token="0" * len(reply.token)))]
        case "wrong-version":
            return [encode_reply(replace(reply, protocol_version=reply.protocol_version + 1))]
    raise AssertionError(f"{fault.fault} is no fault of a reply")


def _with_frame(reply: Any, arrays: Sequence[Array], change: Callable[[Any], Any]) -> list[bytes | memoryview]:
    """The parts of a reply whose header describes its longest frame falsely."""
    position = _longest(arrays)
    frames = [change(frame) if k == position else frame for k, frame in enumerate(reply.frames)]
    return encode_reply(replace(reply, frames=tuple(frames)), arrays)


def _longest(arrays: Sequence[Array]) -> int:
    return max(range(len(arrays)), key=lambda k: arrays[k].data.nbytes)


def _other_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The same number of elements, differently: [n] -> [1, n], [height, width, 3] -> [height * width, 1, 3]."""
    return (1, *shape) if len(shape) == 1 else (shape[0] * shape[1], 1, *shape[2:])


def _with_nan(array_: Array) -> Array:
    if array_.dtype != "float32":
        return array_
    data = view_as(array("f", [float("nan")] * len(array_.data)).tobytes(), "float32")
    return Array(array_.name, array_.dtype, array_.shape, data)
