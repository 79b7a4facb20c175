"""The schedule of a window, scripted: which cells a forward draws, what it feeds for them and what its queries see.

What to feed does not depend on which tokens are drawn, so a whole image is known before its first forward. The SDK
plans the same in TypeScript (`src/schedule`), with more cases than a check of the device needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

Cell = tuple[int, int]
"""Row and column."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the slots of an image lie: those of the prompt, then the rows, each with its row end where it has one."""

    rows: int
    columns: int
    has_row_ends: bool
    prompt_length: int

    @property
    def slot_count(self) -> int:
        return self.slot((self.rows, 0))

    def slot(self, cell: Cell) -> int:
        return self.prompt_length + cell[0] * (self.columns + self.has_row_ends) + cell[1]


@dataclass(frozen=True, slots=True)
class Query:
    """token_of: the cell whose token is fed, which may be another one than the slot's; without one a slot of the
    prompt, or a row end. draws: the cell that is drawn from it.
    """

    slot: int
    token_of: Cell | None
    draws: Cell | None

    def is_row_end(self, layout: Layout) -> bool:
        return self.token_of is None and self.slot >= layout.prompt_length


def planned_steps(rows: int, columns: int, window: int) -> list[list[Cell]]:
    """The cells that each forward decodes: every row `window` columns behind the one above it."""
    every = range(columns + (rows - 1) * window)
    return [[(row, step - row * window) for row in range(rows) if 0 <= step - row * window < columns] for step in every]


def planned_queries(layout: Layout, window: int) -> Iterator[list[Query]]:
    """Of each forward, by ascending slots. The first feeds the prompt."""
    last = layout.prompt_length - 1
    yield [Query(slot, None, (0, 0) if slot == last else None) for slot in range(layout.prompt_length)]
    steps = planned_steps(layout.rows, layout.columns, window)
    for decoded, cells in pairwise(steps):
        wanted = set(cells)
        queries = {layout.slot(cell): Query(layout.slot(cell), cell, _next(layout, cell, wanted)) for cell in decoded}
        for cell in cells:
            if cell[1] == 0:
                opening = _opening(layout, window, cell)
                queries.setdefault(opening.slot, opening)
        yield [queries[slot] for slot in sorted(queries)]


def _next(layout: Layout, cell: Cell, wanted: set[Cell]) -> Cell | None:
    """The cell that follows in the sequence of slots, where it is drawn now."""
    row, column = cell
    following = (row, column + 1)
    if column == layout.columns - 1 and not layout.has_row_ends:
        following = (row + 1, 0)
    return following if following in wanted else None


def _opening(layout: Layout, window: int, cell: Cell) -> Query:
    """What opens a row: the row end above it, or where there is none a surrogate in the slot before it.

    The surrogate is the token of the newest cell above; the slot's own token overwrites it once it is drawn.
    """
    slot = layout.slot(cell) - 1
    return Query(slot, None if layout.has_row_ends else (cell[0] - 1, min(window, layout.columns) - 1), cell)
