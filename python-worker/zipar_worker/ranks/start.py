"""Starts a model that is split over several devices."""

from __future__ import annotations

import os
import sys

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import Executor
from zipar_worker.execute.import_torch import import_torch_
from zipar_worker.machine.threads import share_out_
from zipar_worker.ranks.followers import Followers
from zipar_worker.wire.protocol import Describe, Init


def start_group(request: Init | Describe) -> Executor:
    """The executor of its first rank; to describe a model that one alone is enough. Raises `device`."""
    devices = _devices_of(request.device)
    share_out_(os.environ, len(devices))
    followers = Followers(devices) if isinstance(request, Init) else None
    import_torch_()
    from zipar_worker.ranks.group_executor import GroupExecutor

    return GroupExecutor(devices, followers)


def _devices_of(device: str) -> tuple[str, ...]:
    """Of each rank: "cuda:0+cuda:1" names two."""
    names = tuple(device.split("+"))
    if len(names) > 1 and not sys.platform.startswith("linux"):
        raise WorkerError("device", f"The device {device!r} is a group, which takes Linux. Use one device.")
    repeated = [name for k, name in enumerate(names) if name != "cpu" and name in names[:k]]
    if repeated:
        raise WorkerError(
            "device", f"The device {device!r} names {repeated[0]} twice: each part of a split model needs its own GPU."
        )
    return names
