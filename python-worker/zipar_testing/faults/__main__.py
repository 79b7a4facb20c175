"""`python -m zipar_testing.faults`: the worker as `python -m zipar_worker` runs it, but misbehaving."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from zipar_worker.__main__ import parse_arguments, serve, serve_remotely

if TYPE_CHECKING:
    from zipar_worker.serve.conversation import Server


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="zipar_testing.faults", description="A worker that misbehaves as planned.")
    parser.add_argument("--faults", required=True, metavar="JSON", help="the plan; see zipar_testing/faults/plan.py")
    own, others = parser.parse_known_args(arguments)
    options = parse_arguments(others)
    import_server = partial(import_faulty_server, own.faults)
    if options.dial is not None:
        return serve_remotely(options, import_server)
    return serve(options.connect, options.stub, import_server)


def import_faulty_server(plan: str) -> Callable[..., Server]:
    """Raises `ValueError` for a bad plan."""
    from zipar_testing.faults.plan import decode_plan
    from zipar_testing.faults.server import FaultyServer

    return partial(FaultyServer, plan=decode_plan(plan))


if __name__ == "__main__":
    sys.exit(main())
