"""The user's checkout of a repository: its folder becomes importable, and nothing of it is copied."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

GENERATE = "autoregressive/models/generate.py"


def import_from_checkout_(options: argparse.Namespace, url: str, folder: str = ".") -> None:
    """Puts `folder` of the checkout first on the path, where the official scripts expect it.

    Ends the program with what to do where it is none.
    """
    if options.checkout is None:
        sys.exit(f"{options.loop} needs --checkout: the folder of a checkout of {url}.")
    place: Path = options.checkout / folder
    if not (place / GENERATE).is_file():
        sys.exit(f"{options.checkout} is no checkout of {url}: it has no {Path(folder) / GENERATE}.")
    sys.path.insert(0, str(place.resolve()))
