"""How much RAM this process takes, without a third-party package."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def resident_bytes(followers: Sequence[int] = ()) -> int:
    """Bytes of this process in RAM; the peak where only that is known, 0 where the system tells neither (Windows).

    followers: ids of processes whose bytes are added; there are none but on Linux.
    """
    try:
        pages = sum(_resident_pages(process) for process in ("self", *map(str, followers)))
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident_pages(process: str) -> int:
    with open(f"/proc/{process}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1])
