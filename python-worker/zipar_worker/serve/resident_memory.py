"""How much RAM this process takes, without a third-party package."""

from __future__ import annotations

import os
import sys


def resident_bytes() -> int:
    """Bytes of this process in RAM; the peak where only that is known, 0 where the system tells neither (Windows)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
