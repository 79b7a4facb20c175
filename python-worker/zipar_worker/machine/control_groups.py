"""The control groups of this process: where the kernel says what a container, a job or a service may use.

Facts: cgroups(7), proc_pid_mountinfo(5), and of the kernel's documentation `admin-guide/cgroup-v2.rst` and
`admin-guide/cgroup-v1`. Both versions may be mounted at once, each with some of the controllers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

Controller: TypeAlias = Literal["memory", "cpu"]

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The folder of a group. Its files are those of `version`."""

    version: Literal[1, 2]
    folder: Path

    def read(self, name: str) -> str | None:
        """The text of a file; None where the group has none."""
        try:
            return (self.folder / name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    def count(self, name: str) -> int | None:
        """The number in a file; None where there is none, and for `max` and -1, which mean no limit."""
        return whole_number(self.read(name))

    def table(self, name: str) -> dict[str, int]:
        """A file of lines with a name and a number."""
        pairs = (line.split() for line in (self.read(name) or "").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def control_groups(controller: Controller, root: Path) -> Iterator[ControlGroup]:
    """The groups that bind this process in a controller, in each version from its own group upwards, as far as seen.

    root: of the file system, another one in tests.
    """
    paths = _paths_by_controller(_read(root / "proc/self/cgroup"))
    for mount in _mounts(_read(root / "proc/self/mountinfo")):
        if mount.version == 1 and controller not in mount.controllers:
            continue
        path = paths.get(controller if mount.version == 1 else "")
        if path is not None:
            top = root / mount.point.relative_to("/")
            yield from (ControlGroup(mount.version, folder) for folder in _up_from(top, _below(path, mount.root)))


def whole_number(text: str | None) -> int | None:
    """None for anything but a number that is not negative."""
    return int(text) if text is not None and text.isdecimal() else None


@dataclass(frozen=True, slots=True)
class _Mount:
    version: Literal[1, 2]
    controllers: frozenset[str]
    """Of version 1; version 2 has one tree for all."""
    root: PurePosixPath
    """The group that is seen at `point`."""
    point: PurePosixPath


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        places, kinds = place.split(), kind.split()
        if len(places) < 5 or len(kinds) < 3 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = (PurePosixPath(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), text)) for text in places[3:5])
        yield _Mount(1 if kinds[0] == "cgroup" else 2, frozenset(kinds[2].split(",")), root, point)


def _paths_by_controller(cgroup: str) -> dict[str, PurePosixPath]:
    """The own group in each tree; that of version 2 is under the empty name."""
    paths: dict[str, PurePosixPath] = {}
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number.isdecimal() and path.startswith("/"):
            paths |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    return paths


def _below(path: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """The own group seen from the mount. One that is not seen there, as in a namespace, counts as what is mounted."""
    is_seen = path.is_relative_to(mounted) and ".." not in path.parts
    return path.relative_to(mounted) if is_seen else PurePosixPath()


def _up_from(top: Path, below: PurePosixPath) -> Iterator[Path]:
    for group in (below, *below.parents):
        folder = top / group
        if folder.is_dir():
            yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
