"""One image that is decoded by a script, forward by forward: what to feed next, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zipar_testing.executor_requests import runs_of
from zipar_testing.gpu_check.wavefront import Cell, Layout, Query, planned_queries


@dataclass(frozen=True, slots=True)
class Planned:
    """A forward. tokens, steps: of its queries; runs: what is visible in it."""

    queries: Sequence[Query]
    tokens: Sequence[int]
    steps: Sequence[int]
    runs: Sequence[tuple[int, int]]


class ScriptedImage:
    """lookahead: how many forwards ahead guesses are fed. Some of them fall, and their slots are written again.

    guesses: what to guess, of an image decoded before; every third guess is another token.
    """

    def __init__(
        self,
        layout: Layout,
        window: int,
        code_count: int,
        lookahead: int = 0,
        guesses: Mapping[Cell, int] | None = None,
    ) -> None:
        self.layout = layout
        self.tokens: dict[Cell, int] = {}
        self._forwards = list(planned_queries(layout, window))
        self._code_count = code_count
        self._lookahead = lookahead
        self._guesses = guesses or {}
        self._chance = random.Random(window)
        self._frontier = 0
        self._ahead: list[dict[Cell, int]] = []
        """For each forward that is fed early, the tokens that it takes for granted."""
        self._written: set[int] = set()

    @property
    def is_complete(self) -> bool:
        return self._frontier == len(self._forwards)

    def plan(self) -> Planned:
        known = dict(self.tokens)
        fed = [(query, self._frontier, self._token(query, known)) for query in self._forwards[self._frontier]]
        self._ahead = []
        slots = {query.slot for query, _, _ in fed}
        for step in range(self._frontier + 1, min(self._frontier + 1 + self._lookahead, len(self._forwards))):
            queries = self._forwards[step]
            if slots & {query.slot for query in queries}:
                break
            guessed = {cell: self._guess(cell) for query in queries if (cell := query.token_of) not in known and cell}
            known |= guessed
            self._ahead.append(guessed)
            fed += [(query, step, self._token(query, known)) for query in queries]
            slots |= {query.slot for query in queries}
        fed.sort(key=lambda entry: entry[0].slot)
        return Planned(
            queries=[query for query, _, _ in fed],
            tokens=[token for _, _, token in fed],
            steps=[step for _, step, _ in fed],
            runs=runs_of(self._written | slots),
        )

    def commit(self, drawn: Mapping[Cell, int]) -> None:
        """drawn: what each query of the last plan drew. Those that took a wrong token for granted are passed over."""
        for guessed in [{}, *self._ahead]:
            if any(self.tokens.get(cell) != token for cell, token in guessed.items()):
                break
            queries = self._forwards[self._frontier]
            self.tokens |= {query.draws: drawn[query.draws] for query in queries if query.draws is not None}
            self._written |= {query.slot for query in queries}
            self._frontier += 1

    def _token(self, query: Query, known: Mapping[Cell, int]) -> int:
        if query.token_of is not None:
            return known[query.token_of]
        return self._code_count if query.is_row_end(self.layout) else 0

    def _guess(self, cell: Cell) -> int:
        guess = self._guesses.get(cell, 0)
        return guess if self._chance.random() < 2 / 3 else (guess + 1) % self._code_count
