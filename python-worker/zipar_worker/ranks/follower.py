"""The process of a rank that is not the first: it does what that one does, and ends when that one ends.

Its standard input is the socket to the first rank. It is read in a thread of its own, so that the end of the first rank
is noticed within a kernel or a collective; where that is Linux's to tell, this process is ended by the kernel.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from zipar_worker.execute.import_torch import import_torch_
from zipar_worker.ranks.messages import (
    Advanced,
    Connect,
    CountBytes,
    Forget,
    HoldPrompt,
    Load,
    Order,
    Outcome,
    Prepare,
    RunForward,
    RunProfile,
    receive,
    send,
)
from zipar_worker.serve.failures import EXIT_FATAL, describe_failure
from zipar_worker.serve.parent_watch import EXIT_PARENT_GONE, die_with_parent
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import Profile

if TYPE_CHECKING:
    from zipar_worker.execute.executor import Prepared

_STDIN = 0
_ADVANCE_SECONDS = 0.05


def main(arguments: Sequence[str]) -> None:
    """Follows until the first rank is gone. arguments: rank, number of ranks, descriptor of their store."""
    # Both reach the whole process group; the first rank decides when its group ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=_STDIN)
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_read_orders, args=(connection, orders), name="orders", daemon=True).start()
    die_with_parent(os.getppid())
    rank, count, store = map(int, arguments)
    import_torch_()
    follower = Follower(connection, rank, count, store)
    while True:
        follower.obey(orders.get())


class Follower:
    """Executes what the first rank passes on."""

    _prepared: Prepared

    def __init__(self, connection: socket.socket, rank: int, count: int, store: int) -> None:
        from zipar_worker.ranks.connected import ConnectedRanks
        from zipar_worker.ranks.rank_executor import RankExecutor

        self._connection = connection
        self._store = store
        self._ranks = ConnectedRanks(rank, count)
        self._executor = RankExecutor(self._ranks)
        self._told_at = 0.0

    def obey(self, order: Order) -> None:
        try:
            value = self._execute(order)
            outcome = None if value is None else Outcome(value=value)
        except Exception as error:
            body, fatal = describe_failure(error)
            if fatal or not isinstance(order, Prepare | Load | CountBytes):
                print(f"zipar_worker: rank {self._ranks.rank} ends: {body.message}", file=sys.stderr, flush=True)
                os._exit(EXIT_FATAL)
            outcome = Outcome(error=body)
        if outcome is not None:
            send(self._connection, outcome)

    def _execute(self, order: Order) -> int | None:
        """What the order is answered with; None for one that is not. Raises what the executor raises."""
        executor = self._executor
        match order:
            case Prepare(init):
                self._prepared = executor.prepare(init, self._report)
                return self._prepared.image_count
            case Connect():
                self._ranks.connect(self._prepared.placement.device, self._store)
            case Load(image_count):
                executor.load(self._prepared._replace(image_count=image_count), self._report)
                return 0
            case HoldPrompt(sequence, cache_rows, shape, branches):
                from zipar_worker.families.description import Prompt

                executor.hold(sequence, Prompt(executor.share_embeddings(shape, None), branches), cache_rows)
            case RunForward(feeds):
                executor.compute(feeds)
            case RunProfile(sequence, rows, columns, codes):
                data = view_as(array("i", codes).tobytes(), "int32")
                request = Profile(epoch=0, request=0, frames=(), sequence=sequence)
                executor.profile(request, Array("codes", "int32", (rows, columns), data))
            case Forget(sequences):
                executor.release(sequences)
            case CountBytes():
                return executor.stats().device_bytes or 0
        return None

    def _report(self, phase: str, completed: float, total: float | None, unit: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= _ADVANCE_SECONDS:
            self._told_at = now
            send(self._connection, Advanced())


def _read_orders(connection: socket.socket, orders: queue.SimpleQueue[Order]) -> None:
    try:
        decoder = msgspec.msgpack.Decoder(Order)
        while True:
            orders.put(receive(connection, decoder))
    except (EOFError, OSError):
        pass
    finally:
        os._exit(EXIT_PARENT_GONE)
