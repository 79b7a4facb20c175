"""How much memory this process can still take: what the system has free, within every limit that it runs under."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zipar_worker.machine.control_groups import ControlGroup, control_groups, whole_number

ROOT = Path("/")


class FreeMemory(NamedTuple):
    """Bytes that can still be taken, and the limit that leaves so little; None: the machine itself has no more."""

    free_bytes: int
    limit: str | None


def free_memory(root: Path = ROOT) -> FreeMemory | None:
    """None where the system does not say. `root` is that of the file system, another one in tests."""
    available = _available_bytes(root)
    whole = () if available is None else (FreeMemory(available, None),)
    bounds = [*whole, *_left_by_control_groups(root), *_left_by_resource_limits(root)]
    return min(bounds, key=lambda bound: bound.free_bytes, default=None)


def gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _available_bytes(root: Path) -> int | None:
    kibibytes = _table(root / "proc/meminfo").get("MemAvailable")
    if kibibytes is not None:
        return kibibytes * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left_by_control_groups(root: Path) -> Iterator[FreeMemory]:
    for group in control_groups("memory", root):
        limit, used = _limit_of(group), _used_in(group)
        if limit is not None and used is not None:
            text = f"the memory limit of {gibibytes(limit)} of the control group (container) {group.folder}"
            yield FreeMemory(max(0, limit - used), text)
        if group.count("memory.use_hierarchy") == 0:
            return  # in version 1 the limits of such a group's parents do not bind it


def _limit_of(group: ControlGroup) -> int | None:
    """In bytes. A group is throttled to a standstill beyond `memory.high`: there is no working there either."""
    if group.version == 2:
        limits = [group.count("memory.max"), group.count("memory.high")]
    else:
        # The second counts the parents, also those that are not seen from here.
        hierarchical = group.table("memory.stat").get("hierarchical_memory_limit")
        limits = [group.count("memory.limit_in_bytes"), hierarchical]
    return min((limit for limit in limits if limit is not None), default=None)


def _used_in(group: ControlGroup) -> int | None:
    """Bytes without the part of the page cache that the kernel drops first."""
    is_newer = group.version == 2
    used = group.count("memory.current" if is_newer else "memory.usage_in_bytes")
    droppable = group.table("memory.stat").get("inactive_file" if is_newer else "total_inactive_file", 0)
    return None if used is None else max(0, used - droppable)


def _left_by_resource_limits(root: Path) -> Iterator[FreeMemory]:
    """`ulimit -v` and `ulimit -d`, where the kernel keeps to them."""
    if sys.platform != "linux":
        return
    import resource

    used = _table(root / "proc/self/status")
    for kind, name, used_by in (
        (resource.RLIMIT_AS, "ulimit -v", "VmSize"),
        (resource.RLIMIT_DATA, "ulimit -d", "VmData"),
    ):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and used_by in used:
            text = f"the limit of {gibibytes(limit)} for this process ({name})"
            yield FreeMemory(max(0, limit - used[used_by] * 1024), text)


def _table(path: Path) -> dict[str, int]:
    """Lines such as `MemAvailable:  123 kB`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    numbers = ((words[0].rstrip(":"), whole_number(words[1])) for words in fields if len(words) >= 2)
    return {name: number for name, number in numbers if number is not None}
