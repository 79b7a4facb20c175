"""How far this process has come, as a number that grows with every layer, tensor and imported module.

It belongs to the process on purpose: a worker runs one operation at a time, and what makes progress lies deep in it.
"""

from __future__ import annotations

import sys

_advances = 0


def advance_() -> None:
    """One piece of work is done: a layer of a forward, a tensor of a checkpoint."""
    global _advances
    _advances += 1


def progress_count() -> int:
    """Imports count too: that of PyTorch takes its time, and reports nothing."""
    return _advances + len(sys.modules)
