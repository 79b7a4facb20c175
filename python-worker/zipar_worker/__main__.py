"""`python -m zipar_worker`: dials in to the SDK that started it, or to an engine elsewhere.

Standard output never carries the protocol.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipar_worker.execute.contract import Executor, MakeExecutor
    from zipar_worker.serve.conversation import Server
    from zipar_worker.wire.protocol import Describe, Init

PARENT_ID = os.getppid()
"""Read before anything slow is imported, so that a parent that dies meanwhile is noticed."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.probe:
        from zipar_worker.probe import print_probe

        return print_probe()
    from zipar_worker.missing_packages import PACKAGES, STUB_PACKAGES, missing_packages

    missing = missing_packages(PACKAGES if options.stub is None else STUB_PACKAGES)
    if missing:
        print(f"zipar_worker: {sys.executable} lacks the packages {', '.join(missing)}", file=sys.stderr, flush=True)
        return 2
    if options.dial is not None:
        return serve_remotely(options, import_server)
    return serve(options.connect, options.stub, import_server)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    from zipar_worker import __version__

    parser = argparse.ArgumentParser(prog="zipar_worker", description="Executes models for zipar; started by its SDK.")
    parser.add_argument("--version", action="version", version=__version__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--connect", metavar="ENDPOINT", help="ZeroMQ endpoint of the SDK, e.g. ipc:///tmp/x/w.sock")
    task.add_argument("--dial", metavar="ENDPOINT", help="engine elsewhere, e.g. tcp://10.0.0.5:5555; again and again")
    task.add_argument("--probe", action="store_true", help="print what is installed as one JSON object")
    remote = parser.add_argument_group("with --dial")
    remote.add_argument("--keys", type=Path, metavar="DIR", help="the worker's folder that `zipar keys` made")
    remote.add_argument(
        "--token-file", type=Path, metavar="FILE", help="default: ZIPAR_TOKEN, else `token` beside the keys"
    )
    remote.add_argument(
        "--secrets-on-stdin", action="store_true", help="keys and token are the first line of stdin, not files"
    )
    remote.add_argument("--device", default="auto", help="auto (leaves it to the engine), cpu, cuda:N, cuda:0+cuda:1")
    remote.add_argument("--insecure-plaintext", action="store_true", help="plain TCP beyond this machine")
    remote.add_argument("--heartbeat-timeout", type=int, default=3_000, metavar="MS", help="silence that ends a link")
    remote.add_argument(
        "--drain", type=float, default=30.0, metavar="SECONDS", help="that images may take once SIGTERM came"
    )
    remote.add_argument("--with-parent", action="store_true", help="end when stdin ends, and with the parent process")
    parser.add_argument("--stub", nargs="?", const="{}", metavar="JSON", help="serve the deterministic stub model")
    return parser.parse_args(arguments)


def serve(endpoint: str, stub_options: str | None, import_server: Callable[[], Callable[..., Server]]) -> int:
    """Runs the worker. The parent watch comes first, torch last: it is imported within `init`."""
    from zipar_worker.serve import parent_watch

    parent_watch.watch_parent(PARENT_ID, endpoint)
    # Ctrl-C in a terminal reaches the whole process group; the SDK decides when its worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        credentials = parent_watch.read_credentials()
        make_executor = choose_executor(stub_options)
        make_server = import_server()
    except ValueError as error:
        print(f"zipar_worker: {error}", file=sys.stderr, flush=True)
        parent_watch.remove_socket(endpoint)
        return 2
    parent_watch.watch_stdin(endpoint)

    from zipar_worker.wire.link import Link

    # Only once the link stands: the kernel's signal would come before the socket of a dead parent could be removed.
    server = make_server(make_executor, on_answer=partial(parent_watch.die_with_parent, PARENT_ID))
    exit_code = server.serve(Link(endpoint), credentials)
    server.operations.close()
    return leave_with(exit_code)


def serve_remotely(options: argparse.Namespace, import_server: Callable[[], Callable[..., Server]]) -> int:
    """Runs the worker for engines elsewhere, until it is stopped."""
    from zipar_worker.serve import parent_watch
    from zipar_worker.serve.leave import Leave
    from zipar_worker.serve.remote import check_device, resolve_engine, serve_engine
    from zipar_worker.wire.key_files import decode_secrets, read_secrets

    leave = Leave(options.drain)
    if options.with_parent:
        parent_watch.die_with_parent(PARENT_ID)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        # At once, also within a kernel: images go on elsewhere.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options.drain > 0:
        signal.signal(signal.SIGTERM, lambda *_: leave.ask())
    try:
        check_device(options.device)
        if options.secrets_on_stdin:
            if options.keys is not None or options.token_file is not None:
                raise ValueError("--secrets-on-stdin stands in the place of --keys and --token-file; leave these out")
            secrets = decode_secrets(parent_watch.read_first_line())
        else:
            secrets = read_secrets(options.keys, options.token_file, os.environ)
        if options.with_parent:
            parent_watch.watch_stdin(on_line=leave.ask)
        engine = resolve_engine(
            options.dial,
            secrets,
            insecure_plaintext=options.insecure_plaintext,
            heartbeat_timeout_ms=options.heartbeat_timeout,
        )
        make_executor = choose_executor(options.stub)
        make_server = import_server()
    except ValueError as error:
        print(f"zipar_worker: {error}", file=sys.stderr, flush=True)
        return 2
    return leave_with(serve_engine(engine, make_executor, options.device, leave, make_server))


def leave_with(exit_code: int) -> int:
    """The exit code. Ends at once where destructors may hang: of a broken CUDA context, or of a group that is gone."""
    from zipar_worker.serve.failures import EXIT_FATAL

    if exit_code == EXIT_FATAL or "zipar_worker.ranks.connected" in sys.modules:
        os._exit(exit_code)
    return exit_code


def choose_executor(stub_options: str | None) -> MakeExecutor:
    """Raises `ValueError` for bad stub options."""
    if stub_options is None:
        return make_torch_executor
    from zipar_worker.stub.executor import StubExecutor, decode_options

    options = decode_options(stub_options)
    return lambda request: StubExecutor(options)


def import_server() -> Callable[..., Server]:
    from zipar_worker.serve.conversation import Server

    return Server


def make_torch_executor(request: Init | Describe) -> Executor:
    from zipar_worker.execute.import_torch import import_torch_

    if "+" in request.device:
        from zipar_worker.ranks.start import start_group

        return start_group(request)
    import_torch_()
    from zipar_worker.execute.executor import TorchExecutor

    return TorchExecutor()


if __name__ == "__main__":
    sys.exit(main())
