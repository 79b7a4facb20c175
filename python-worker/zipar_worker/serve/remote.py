"""A worker that dials in to an engine elsewhere, again and again, and keeps its model in between."""

from __future__ import annotations

import random
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from zipar_worker.execute.contract import MakeExecutor
from zipar_worker.serve.conversation import EXIT_AGAIN, EXIT_DONE, EXIT_NOBODY, Server
from zipar_worker.serve.leave import Leave
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.wire.key_files import Secrets
from zipar_worker.wire.link import LinkLost, RemoteLink
from zipar_worker.wire.protocol import DEVICE_PATTERN

ANSWER_TIMEOUT_MS = 10_000
"""How long the engine may take to answer the hello. It answers at once, or never."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
LAST_EPOCH = 2**32 - 1
"""JavaScript packs larger numbers as floats, which take longer to read."""

_LOOPBACK = re.compile(r"tcp://(localhost|127(\.\d{1,3}){3}|\[::1\]):\d+")


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the engine waits, and what a worker needs to be let in."""

    endpoint: str
    secrets: Secrets
    heartbeat_timeout_ms: int
    """Silence after which the link counts as lost."""


def resolve_engine(endpoint: str, secrets: Secrets, *, insecure_plaintext: bool, heartbeat_timeout_ms: int) -> Engine:
    """Checks what the command line says. Raises `ValueError`."""
    if re.fullmatch(r"tcp://\S+:\d+", endpoint) is None:
        raise ValueError(f'expected an endpoint such as "tcp://10.0.0.5:5555", received {endpoint!r}')
    if secrets.keys is None and not insecure_plaintext and _LOOPBACK.fullmatch(endpoint) is None:
        raise ValueError(
            f"plain TCP to {endpoint} would show the token and everything else to everybody on the way, and let them "
            "change it; give --keys (`zipar keys` makes them), or --insecure-plaintext"
        )
    if not 100 <= heartbeat_timeout_ms <= 600_000:
        raise ValueError(f"expected a heartbeat timeout of 100 to 600000 ms, received {heartbeat_timeout_ms}")
    return Engine(endpoint, secrets, heartbeat_timeout_ms)


def check_device(name: str) -> None:
    """Raises `ValueError` for what is no device that a model can be on."""
    if re.match(DEVICE_PATTERN, name) is None:
        expected = "auto, cpu, cuda, cuda:N, or several for one model, such as cuda:0+cuda:1"
        raise ValueError(f"expected the device {expected}; received {name!r}")


def serve_engine(
    engine: Engine,
    make_executor: MakeExecutor,
    device: str,
    leave: Leave,
    make_server: Callable[..., Server] = Server,
) -> int:
    """Serves whichever process listens at the engine's endpoint; the exit code once that makes no sense any more."""
    tell = _Teller()
    server = make_server(make_executor, device=device, note=tell, answer_timeout_ms=ANSWER_TIMEOUT_MS, leave=leave)
    pause = FIRST_PAUSE_SECONDS
    while not leave.is_asked:
        link = RemoteLink(engine.endpoint, engine.secrets.keys, engine.heartbeat_timeout_ms)
        # Each hello has an epoch of its own, so that none is good twice and no reply is taken for another's.
        credentials = Credentials(engine.secrets.token, 1 + secrets.randbelow(LAST_EPOCH))
        started = time.monotonic()
        try:
            exit_code = server.serve(link, credentials)
            if exit_code not in (EXIT_AGAIN, EXIT_NOBODY):
                return exit_code
        except LinkLost as lost:
            tell(f"{lost}; trying again until there is an engine")
        if time.monotonic() - started > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        time.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return EXIT_DONE


class _Teller:
    """Tells whoever runs this worker what goes on, and nothing twice in a row."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, text: str) -> None:
        if text != self.last:
            print(f"zipar worker: {text}", file=sys.stderr, flush=True)
        self.last = text
