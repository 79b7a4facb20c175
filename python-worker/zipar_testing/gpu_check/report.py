"""The sections of a run, and the files that say what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Value: TypeAlias = str | int | float | bool | None
Verdict: TypeAlias = Literal["passed", "FAILED", "measured", "skipped", "out of memory", "error"]

PROBLEMS: tuple[Verdict, ...] = ("FAILED", "error")
"""With which a run does not count as passed. A device that is too small for a measurement is no problem of ours."""


@dataclass(slots=True)
class Section:
    """rows: of its table, all with the same keys; note: what a reader must know of it."""

    name: str
    verdict: Verdict = "skipped"
    note: str = ""
    seconds: float = 0.0
    rows: list[Mapping[str, Value]] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """facts: of the machine and the run; notes: what holds for several sections."""

    facts: dict[str, Value]
    notes: Sequence[str] = ()
    sections: list[Section] = field(default_factory=list)

    @property
    def has_problem(self) -> bool:
        return any(section.verdict in PROBLEMS for section in self.sections)

    def write(self, directory: Path) -> None:
        """report.json and report.md. Written again after each section, so that a run that is cut off leaves them."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.json").write_text(json.dumps(asdict(self), indent=2) + "\n")
        (directory / "report.md").write_text(self.markdown())

    def markdown(self) -> str:
        lines = ["# gpu-check", "", *(f"- {name}: {_text(value)}" for name, value in self.facts.items()), ""]
        lines += table([{"section": s.name, "verdict": s.verdict, "s": round(s.seconds, 1)} for s in self.sections])
        for note in self.notes:
            lines += ["", note]
        for section in self.sections:
            lines += ["", f"## {section.name}: {section.verdict}", ""]
            lines += [section.note, ""] if section.note else []
            lines += table(section.rows)
        return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    if not rows:
        return []
    names = list(rows[0])
    return [
        f"| {' | '.join(names)} |",
        f"|{'---|' * len(names)}",
        *(f"| {' | '.join(_text(row[name]) for name in names)} |" for row in rows),
    ]


def _text(value: Value) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
