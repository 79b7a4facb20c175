"""The workers that there are, and those that are leaving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

KILL_SECONDS = 15.0
"""What a worker that was told to leave gets beyond the time of its images."""


class Member(Protocol):
    """A worker somewhere on the cluster, which is started again wherever it dies."""

    def exit_code(self) -> int | None:
        """Once it has ended for good."""

    def leave(self) -> None:
        """Asks it to finish its images and to end."""

    def remove(self) -> None:
        """Ends it at once, if it has not ended, and gives back its place."""


class Team:
    """Changes its size politely: those that are too many finish their images."""

    def __init__(self, start: Callable[[], Member], drain_seconds: float) -> None:
        self._start = start
        self._drain_seconds = drain_seconds
        self._members: list[Member] = []
        self._leaving: list[tuple[Member, float]] = []

    @property
    def size(self) -> int:
        return len(self._members)

    @property
    def is_gone(self) -> bool:
        return not self._members and not self._leaving

    def resize(self, count: int, now: float) -> None:
        """The newest leave first: they are those that may still wait for their place."""
        while len(self._members) < count:
            self._members.append(self._start())
        while len(self._members) > count:
            member = self._members.pop()
            member.leave()
            self._leaving.append((member, now + self._drain_seconds + KILL_SECONDS))

    def collect(self, now: float) -> list[int]:
        """Lets go of those that have ended; the exit codes of those that nobody had asked to."""
        waiting = []
        for member, deadline in self._leaving:
            if member.exit_code() is None and now < deadline:
                waiting.append((member, deadline))
            else:
                member.remove()
        self._leaving = waiting
        codes = {id(member): member.exit_code() for member in self._members}
        for member in self._members:
            if codes[id(member)] is not None:
                member.remove()
        self._members = [member for member in self._members if codes[id(member)] is None]
        return [code for code in codes.values() if code is not None]
