"""The socket that leads to the SDK: to the process that started this worker, or to an engine on another machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from zipar_worker.wire.key_files import WorkerKeys
from zipar_worker.wire.protocol import FRAME_BYTES, FRAME_COUNT

HEARTBEAT_INTERVAL_MS = 200
HEARTBEAT_TIMEOUT_MS = 600
LINGER_MS = 500
FOREVER = -1

HANDSHAKE_TIMEOUT_MS = 5_000
KEY_UNKNOWN = 400
"""Status of ZeroMQ's authentication protocol (RFC 27)."""


class LinkLost(Exception):
    """There is no link to an engine, or no longer; the text says what is known of why."""


class Link:
    """To the process that started this worker. It ends with that process, which `serve/parent_watch.py` notices."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES)

    def connect(self) -> None:
        if not self.endpoint.startswith("ipc:"):
            # Within a machine the kernel tells of a dead peer, and a peer that was only stopped must not lose its link.
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
            self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        self.socket.connect(self.endpoint)

    def wait(self, timeout_ms: int) -> bool:
        """Whether there is a message within this time."""
        return bool(self.socket.poll(timeout_ms))

    def receive(self) -> list[bytes]:
        """The parts of the next message; parts beyond what a message may have are counted but not kept."""
        parts: list[bytes] = []
        while True:
            # As a frame, which knows whether more follow; asking the socket costs as much as receiving.
            frame = self.socket.recv(copy=False)
            parts.append(frame.bytes if len(parts) <= FRAME_COUNT else b"")
            if not frame.more:
                return parts

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        # Part by part: `send_multipart` first inspects every part, which costs as much as sending them.
        *first, last = parts
        for part in first:
            self.socket.send(part, zmq.SNDMORE)
        self.socket.send(last)

    def close(self, linger_ms: int = LINGER_MS) -> None:
        """What was sent has so long to leave."""
        self.socket.close(linger_ms)
        self.context.term()


class RemoteLink(Link):
    """To an engine on another machine, by TCP, with CURVE where there are keys. Good for one conversation.

    It never connects again by itself: the engine would know nothing of what was said before.
    """

    def __init__(self, endpoint: str, keys: WorkerKeys | None, heartbeat_timeout_ms: int) -> None:
        """`heartbeat_timeout_ms`: silence after which the link counts as lost."""
        super().__init__(endpoint)
        self.keys = keys
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, -(-heartbeat_timeout_ms // 3))
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, heartbeat_timeout_ms)
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.engine)
        self.monitor = self.socket.get_monitor_socket()
        self.poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        self.poller.register(self.monitor, zmq.POLLIN)
        self.is_lost = False

    def connect(self) -> None:
        """Returns once both sides know who the other is. Raises `LinkLost`."""
        try:
            self.socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise LinkLost(f"{self.endpoint} is no address to connect to ({error})") from error
        deadline = time.monotonic() + HANDSHAKE_TIMEOUT_MS / 1000
        while (left := deadline - time.monotonic()) > 0 and self.monitor.poll(int(left * 1000) + 1):
            event, value = self._next_event()
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            if (failure := self._handshake_failure(event, value)) is not None:
                raise LinkLost(failure)
        raise LinkLost(f"nobody answered at {self.endpoint}")

    def wait(self, timeout_ms: int) -> bool:
        """Raises `LinkLost`."""
        while not self.is_lost:
            ready = dict(self.poller.poll(timeout_ms))
            if self.monitor in ready:
                event, _ = self._next_event()
                self.is_lost = event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED)
            else:
                return self.socket in ready
        raise LinkLost(f"the link to {self.endpoint} was lost")

    def receive(self) -> list[bytes]:
        """Raises `LinkLost`."""
        self.wait(FOREVER)
        return super().receive()

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Does nothing once the link is lost, which `receive` tells."""
        try:
            *first, last = parts
            for part in first:
                self.socket.send(part, zmq.SNDMORE | zmq.NOBLOCK)
            self.socket.send(last, zmq.NOBLOCK)
        except zmq.Again:  # nobody is there to take it
            self.is_lost = True

    def close(self, linger_ms: int = LINGER_MS) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        super().close(linger_ms)

    def _next_event(self) -> tuple[int, int]:
        message = parse_monitor_message(self.monitor.recv_multipart())
        return int(message["event"]), int(message["value"])

    def _handshake_failure(self, event: int, value: int) -> str | None:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and value == KEY_UNKNOWN:
            key = "" if self.keys is None else f" {self.keys.public.decode()}; add that to the engine's known workers"
            return f"the engine at {self.endpoint} does not know this worker's key{key}"
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return f"the engine at {self.endpoint} takes no worker now, as it has one"
        other = "it has no keys" if self.keys is not None else "it wants keys"
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return (
                f"{self.endpoint} refuses {'plain TCP' if self.keys is None else 'CURVE'}: if it is the engine, {other}"
            )
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            doubt = "" if self.keys is None else "its key is not the one in engine.public, or "
            return f"the engine at {self.endpoint} takes no worker now, as it has one; or {doubt}{other}"
        if event in (zmq.EVENT_CLOSED, zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED):
            return f"nobody listens at {self.endpoint}"
        return None
