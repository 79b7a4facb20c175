"""Checks the worker on a device: `python scripts/gpu-check --out DIRECTORY`. What it does: docs/gpu.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from zipar_testing.gpu_check.libraries import missing_libraries

_SIZES_HELP = "cpu: models for a processor, timings alone; tiny: seconds on a CPU, for a test"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 where something is wrong with the worker on the device, 2 for what it cannot run with."""
    options = _parser().parse_args(arguments)
    problem = missing_libraries()
    if problem is not None:
        return _refuse(problem)
    # Not before it is known that there is a PyTorch, and that this Python reads them.
    from zipar_worker.machine.threads import settle_threads_

    if "torch" not in sys.modules:
        settle_threads_(os.environ)  # as a worker does
    from zipar_testing.gpu_check.check_device import check_device
    from zipar_testing.gpu_check.devices import DeviceProblem, find_device

    try:
        device = find_device(options.device)
    except DeviceProblem as error:
        return _refuse(str(error))
    report = check_device(
        device, out=options.out, budget_seconds=options.budget_s, size=options.sizes, only=options.only
    )
    print(f"Written: {options.out / 'report.md'} and report.json", flush=True)
    return 1 if report.has_problem else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-check", description="Checks and times zipar's worker on a device.")
    parser.add_argument("--out", type=Path, required=True, help="directory for report.json and report.md")
    parser.add_argument("--device", help="cuda:0, cpu, ... (default: cuda:0 where there is one, else cpu)")
    parser.add_argument("--budget-s", type=float, default=480, help="seconds after which nothing more is begun")
    parser.add_argument("--sizes", choices=["full", "cpu", "tiny"], default="full", help=_SIZES_HELP)
    parser.add_argument("--only", choices=["correctness", "timings"], help="one half of the check")
    return parser


def _refuse(problem: str) -> int:
    print(problem, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
