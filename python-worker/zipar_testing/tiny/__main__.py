"""Writes a checkpoint with random weights in the official format of a family.

python -m zipar_testing.tiny llamagen --out DIRECTORY --seed 1 --rows 8 --columns 8      a small one, with a sidecar
python -m zipar_testing.tiny llamagen --out DIRECTORY --seed 1 --shape B --size 256      an official size and format
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

WRITERS = ("llamagen", "emu3", "emu3_5", "lumina_mgpt", "lumina_mgpt_2", "janus", "liquid", "anole", "star", "simplear")
"""Modules of this folder, named like the families; see `Writer`."""


class Writer(Protocol):
    """What the module of a family offers."""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...

    def write(self, out: Path, seed: int, options: argparse.Namespace) -> None:
        """Writes into the existing directory `out`."""
        ...


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="zipar_testing.tiny", description="Writes a checkpoint with random weights.")
    families = parser.add_subparsers(dest="family", required=True)
    for name in WRITERS:
        family = families.add_parser(name.replace("_", "-"))
        if family.prog.split()[-1] not in given[:1]:
            continue  # the libraries of another family take seconds to import
        family.add_argument("--out", type=Path, required=True, help="directory to write into")
        family.add_argument("--seed", type=int, default=0)
        writer = cast(Writer, import_module(f"zipar_testing.tiny.{name}"))
        writer.add_options(family)
        family.set_defaults(write=writer.write)
    options = parser.parse_args(given)
    options.out.mkdir(parents=True, exist_ok=True)
    options.write(options.out, options.seed, options)


if __name__ == "__main__":
    main()
