"""Damaged requests against the whole path of the worker: decoder, checks, registry, and the stub as executor.

python tests/fuzz_requests.py --messages 1000000 --seed 1       prints one JSON object
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import msgspec

from zipar_worker.serve.conversation import EXIT_FATAL, Server
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.stub.executor import StubExecutor, StubOptions
from zipar_worker.wire.link import Link
from zipar_worker.wire.protocol import ErrorReply, Fatal, Reply

GOLDEN_FOLDER = Path(__file__).resolve().parents[2] / "proto" / "golden"
EPOCH = 3
TYPED_CODES = {"protocol", "protocol-version", "bad-request", "prompt", "not-ready", "out-of-memory"}
MESSAGES_PER_START = 200
"""After so many messages, or after a fatal one, a worker starts afresh, so that no state hides a defect for long."""

ODD_VALUES: list[Any] = [
    *(None, True, False, "", "x", "x" * 300, "\0", "😀", [], {}, [[]], [None], b"\1\2\3"),
    *(0, -1, 1, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), 2**31, -(2**31), 2**53, 2**63, -(2**63)),
    *(float(2**40), {"__class__": "x"}, {1: 2}, [list(range(50))]),
]


class DeafServer(Server):
    """A server whose replies are kept instead of sent."""

    def __init__(self) -> None:
        super().__init__(lambda _: StubExecutor(StubOptions(slot_count=9000)))
        self.credentials = Credentials(token="", epoch=EPOCH)
        self.link = Link("inproc://nobody")
        self.replies: list[Reply] = []

    def send(self, reply: Reply, arrays: Any = ()) -> None:
        self.replies.append(reply)


class Mutator:
    """Damages valid requests at random, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.examples = golden_requests()

    def valid(self, kind: str) -> list[bytes]:
        header, frames = next((header, frames) for header, frames in self.examples if header["type"] == kind)
        return [msgspec.msgpack.encode(header), *frames]

    def next(self) -> list[bytes]:
        header, frames = self.random.choice(self.examples)
        damages_header = self.random.random() < 0.6
        if damages_header:
            header = copy.deepcopy(header)
            for _ in range(self.random.randint(1, 2)):
                self._damage_value_(header)
        try:
            parts = [msgspec.msgpack.encode(header), *frames]
        except (OverflowError, TypeError):
            parts = [b"", *frames]
        if not damages_header or self.random.random() < 0.2:
            for _ in range(self.random.randint(1, 3)):
                parts = self._damaged(parts)
        return parts

    def _damage_value_(self, holder: Any) -> None:
        """Replaces, removes or adds something anywhere in a tree of plain values."""
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = self.random.choice(keys)
            value = holder[key]
            if isinstance(value, dict | list) and value and self.random.random() < 0.7:
                holder = value
                continue
            chance = self.random.random()
            if chance < 0.15:
                del holder[key]
            elif chance < 0.3 and isinstance(holder, dict):
                holder[f"extra{self.random.randint(0, 2)}"] = copy.deepcopy(self.random.choice(ODD_VALUES))
            elif chance < 0.5 and isinstance(value, int | float):
                holder[key] = value + self.random.choice((-1, 1, 2, 256, 65536, 0.5))
            elif chance < 0.7:
                holder[key] = copy.deepcopy(self.random.choice(list(self.random.choice(self.examples)[0].values())))
            else:
                holder[key] = copy.deepcopy(self.random.choice(ODD_VALUES))
            return

    def _damaged(self, parts: list[bytes]) -> list[bytes]:
        place = self.random.randrange(len(parts)) if parts else 0
        part = parts[place] if parts else b""
        at = self.random.randint(0, len(part))
        end = min(len(part), at + self.random.randint(1, 8))
        noise = self.random.randbytes(self.random.randint(0, 24))
        changes: list[Callable[[], list[bytes]]] = [
            lambda: [*parts[:place], _flipped(part, at, 1 << self.random.randint(0, 7)), *parts[place + 1 :]],
            lambda: [*parts[:place], part[:at] + b"\xdd\xff\xff\xff\xff" + part[end:], *parts[place + 1 :]],
            lambda: [*parts[:place], part[:at], *parts[place + 1 :]],
            lambda: [*parts[:place], part[:at] + part[end:], *parts[place + 1 :]],
            lambda: [*parts[:place], part[:end] + part[at:], *parts[place + 1 :]],
            lambda: [*parts[:place], part[:at] + noise + part[at:], *parts[place + 1 :]],
            lambda: [*parts[:place], *parts[place + 1 :]],
            lambda: [*parts[:place], noise, *parts[place:]],
        ]
        weights = (30, 10, 15, 10, 10, 10, 5, 5)
        return self.random.choices(changes, weights)[0]()


def fuzz(count: int, seed: int) -> dict[str, Any]:
    """Feeds `count` damaged requests; `problems` lists those that ended in anything but a reply or a typed error."""
    mutator = Mutator(seed)
    outcome: dict[str, Any] = {"messages": count, "taken": 0, "refused": 0, "fatal": 0, "slowestMs": 0, "problems": []}
    server = DeafServer()
    is_fresh = False
    for number in range(count):
        if not is_fresh:
            server.operations.end_session()
            server.answer(mutator.valid("init"))
            server.answer(mutator.valid("encode-prompt"))
            server.replies.clear()
            is_fresh = True
        parts = mutator.next()
        start = time.perf_counter()
        try:
            exit_code = server.answer(parts)
            error = _error_of(server.replies)
            if error is not None and error.code not in TYPED_CODES:
                raise AssertionError(f"{error.code}: {error.message} {error.traceback}")
            outcome["fatal" if exit_code == EXIT_FATAL else "refused" if error is not None else "taken"] += 1
        except BaseException as error:
            outcome["problems"].append(
                {"message": number, "parts": [part.hex() for part in parts], "error": repr(error)}
            )
            exit_code = EXIT_FATAL
        outcome["slowestMs"] = max(outcome["slowestMs"], 1000 * (time.perf_counter() - start))
        server.replies.clear()
        is_fresh = exit_code is None and number % MESSAGES_PER_START != 0
    return outcome


def golden_requests() -> list[tuple[dict[str, Any], list[bytes]]]:
    examples = [json.loads(path.read_bytes()) for path in sorted(GOLDEN_FOLDER.glob("*.json"))]
    return [
        (example["message"], [bytes.fromhex(frame["hex"]) for frame in example["frames"]])
        for example in examples
        if example["direction"] == "request"
    ]


def _error_of(replies: list[Reply]) -> Any:
    return next((reply.error for reply in replies if isinstance(reply, ErrorReply | Fatal)), None)


def _flipped(part: bytes, at: int, bits: int) -> bytes:
    return part[:at] + bytes([part[at] ^ bits]) + part[at + 1 :] if at < len(part) else part


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with redirect_stderr(io.StringIO()):  # a fatal failure prints a line
        outcome = fuzz(options.messages, options.seed)
    outcome["seconds"] = time.perf_counter() - start
    outcome["grownMiB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(outcome))
    return 1 if outcome["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
