"""How many threads compute, so that they are neither more than the processors that this process gets, nor in the way.

PyTorch counts the cores of the machine. In a container with a share of it, so many threads wait for each other many
times longer than they compute.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from zipar_worker.machine.control_groups import ControlGroup, control_groups, whole_number

ROOT = Path("/")

CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables in which users choose. The first one is how the SDK passes its option `threads` on."""

_WORKER_COUNT = "ZIPAR_WORKER_COUNT"
"""The variable in which the SDK says how many workers of an engine share this machine."""

_RANK_COUNT = "ZIPAR_RANK_COUNT"
"""The variable in which a worker says over how many processes its model is split."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that say how a thread without work waits, in several implementations of OpenMP."""


class Processors(NamedTuple):
    """What this process may compute on."""

    logical: int
    """That it may be scheduled on: the affinity mask."""
    cores: int
    """That these belong to: two threads of one core share what a matrix product needs."""
    quota: float | None
    """Processors' worth of time that its control groups grant; None: no limit."""


@dataclass(frozen=True, slots=True)
class ThreadCount:
    count: int
    reason: str


def settle_threads_(variables: MutableMapping[str, str]) -> ThreadCount:
    """Sets the variables that OpenMP, MKL and OpenBLAS read. To be called before anything loads one of these.

    Threads that wait sleep: while they spin, other programs on their cores make an image take 20 times as long, and on
    an idle machine nothing is gained.
    """
    chosen = _chosen(variables)
    threads = chosen or thread_count(own_processors(), workers_here(variables))
    if chosen is None:
        variables["OMP_NUM_THREADS"] = str(threads.count)
    if not any(variables.get(name) for name in _WAITING):
        variables["OMP_WAIT_POLICY"] = "passive"
    return threads


def workers_here(variables: Mapping[str, str]) -> int:
    """Workers of one engine that share this machine, each process of one that has several counted by itself."""
    workers, ranks = (whole_number(variables.get(name)) or 1 for name in (_WORKER_COUNT, _RANK_COUNT))
    return workers * ranks


def share_out_(variables: MutableMapping[str, str], rank_count: int) -> None:
    """For this process and those that it starts: its worker is so many of them."""
    variables[_RANK_COUNT] = str(rank_count)


def thread_count(processors: Processors, worker_count: int = 1) -> ThreadCount:
    """One thread for each core, and no more than the quota keeps busy, shared out among so many workers.

    A quota of 1.5 gets two threads: together they use all of it and then pause for the rest of the period, where one
    alone would leave a third of it.
    """
    logical, cores, quota = processors
    beside = f", shared by {worker_count} workers" if worker_count > 1 else ""
    if quota is not None and math.ceil(quota) < cores:
        reason = f"a quota of {quota:g} processors, {_plural(cores, 'core')}{beside}"
        return ThreadCount(max(1, math.ceil(quota) // worker_count), reason)
    hardware = f" with {logical} hardware threads" if logical > cores else ""
    return ThreadCount(max(1, cores // worker_count), f"{_plural(cores, 'core')}{hardware}{beside}")


def own_processors(root: Path = ROOT) -> Processors:
    """root: of the file system, another one in tests."""
    numbers = _affinity()
    return Processors(len(numbers), _core_count(numbers, root), cpu_quota(root))


def cpu_quota(root: Path) -> float | None:
    """The smallest quota of the own control group and of those above it, in processors."""
    quotas = [_quota_of(group) for group in control_groups("cpu", root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: ControlGroup) -> float | None:
    if group.version == 2:
        granted, _, every = (group.read("cpu.max") or "").partition(" ")
        quota, period = whole_number(granted), whole_number(every)
    else:
        quota, period = group.count("cpu.cfs_quota_us"), group.count("cpu.cfs_period_us")
    return quota / period if quota and period else None


def _affinity() -> list[int]:
    """Numbers of the processors that this process may run on."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return list(range(os.cpu_count() or 1))


def _core_count(numbers: Iterable[int], root: Path) -> int:
    """Processors that name the same siblings are one core; each that names none is one by itself."""
    folder = root / "sys/devices/system/cpu"
    return len({_siblings(folder / f"cpu{number}") or number for number in numbers})


def _siblings(processor: Path) -> str | None:
    try:
        return (processor / "topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return None


def _chosen(variables: MutableMapping[str, str]) -> ThreadCount | None:
    for name in CHOSEN_BY:
        # OMP_NUM_THREADS may list a number for each level of nesting.
        number = whole_number(variables.get(name, "").split(",")[0].strip())
        if number:
            return ThreadCount(number, f"chosen by {name}")
    return None


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
