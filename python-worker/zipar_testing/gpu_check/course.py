"""The course of a run: sections one after the other within a budget, whatever becomes of each."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import torch

from zipar_testing.gpu_check.report import PROBLEMS, Report, Section
from zipar_worker.errors import WorkerError
from zipar_worker.execute.devices import release_unused_memory


class Course:
    """Owns the report and the time. A section is a function that fills in the one it is given."""

    def __init__(self, report: Report, out: Path, budget_seconds: float) -> None:
        self.report = report
        self._out = out
        self._start = monotonic()
        self._budget_seconds = budget_seconds

    @property
    def seconds_left(self) -> float:
        return self._budget_seconds - (monotonic() - self._start)

    def say(self, text: str) -> None:
        print(f"[{monotonic() - self._start:6.1f} s] {text}", flush=True)

    def run(self, name: str, fill_: Callable[[Section], None], *, needs_seconds: float = 0.0) -> None:
        """needs_seconds: with less left it is skipped, and the report says so."""
        section = Section(name)
        self.report.sections.append(section)
        if self.seconds_left < needs_seconds:
            section.note = f"{self.seconds_left:.0f} s were left, about {needs_seconds:.0f} s are needed: --budget-s"
            return self._end(section)
        self.say(f"{name} ...")
        if torch.cuda.is_available():
            # What an earlier section held is gone by now, its traceback included.
            gc.collect()
            release_unused_memory()
        start = monotonic()
        try:
            fill_(section)
        except Exception as error:
            section.verdict = "out of memory" if _is_out_of_memory(error) else "error"
            section.note = f"{type(error).__name__}: {error}"
            if section.verdict in PROBLEMS:
                traceback.print_exc(file=sys.stderr)
        section.seconds = monotonic() - start
        self._end(section)

    def _end(self, section: Section) -> None:
        explained = section.verdict not in ("passed", "measured") and section.note
        self.say(f"{section.name}: {section.verdict}{f' ({section.note})' if explained else ''}")
        self.report.write(self._out)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, WorkerError) and error.code == "out-of-memory"
    )
