"""Members of a team that are actors of Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from zipar_ray.actor import WorkerActor
from zipar_ray.team import Member


def starts_actors(parameters: Sequence[str], secrets: bytes, *, gpus: float, cpus: float) -> Callable[[], Member]:
    """Starts a worker with these parameters where Ray finds room for it, and again wherever that dies."""
    actor_class = ray.remote(WorkerActor).options(
        num_gpus=gpus, num_cpus=cpus, max_restarts=-1, max_task_retries=-1, max_concurrency=2
    )

    def start() -> Member:
        actor = actor_class.remote()
        return ActorMember(actor, actor.run.remote(list(parameters), secrets))

    return start


class ActorMember:
    def __init__(self, actor: Any, running: Any) -> None:
        self._actor = actor
        self._running = running

    def exit_code(self) -> int | None:
        ended, _ = ray.wait([self._running], timeout=0)
        if not ended:
            return None
        try:
            return int(ray.get(self._running))
        except RayError as error:
            print(f"zipar_ray: a worker cannot be run: {error}", file=sys.stderr, flush=True)
            return 1

    def leave(self) -> None:
        self._actor.leave.remote()

    def remove(self) -> None:
        ray.kill(self._actor, no_restart=True)
