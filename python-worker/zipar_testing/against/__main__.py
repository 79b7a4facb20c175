"""Makes an image for each line of standard input, and answers with what that took.

python -m zipar_testing.against llamagen --model DIRECTORY --checkout PATH --guidance 4

A line is a JSON string, the prompt. The first line of the output says that the model is loaded, each further one is
`{"forwards": 256, "seconds": 15.8, "codes": [...]}`. The model is a directory that `zipar_testing.tiny` has written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

from zipar_worker.machine.threads import settle_threads_

if TYPE_CHECKING:
    from zipar_testing.against.loop import Loop

LOOPS = ("llamagen", "zipar", "janus", "emu3")
"""Modules of this folder, each with `load(options) -> Loop`."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="zipar_testing.against", description=__doc__.splitlines()[0])
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--model", type=Path, required=True, help="directory of the checkpoint")
    parser.add_argument("--guidance", type=float, required=True)
    parser.add_argument("--checkout", type=Path, help="of the repository whose loop it is, for llamagen and zipar")
    parser.add_argument("--window", type=int, help="for zipar")
    options = parser.parse_args()
    answers = sys.stdout
    # What the code of others prints is no answer.
    with redirect_stdout(sys.stderr):
        loop = cast("Loop", import_module(f"zipar_testing.against.{options.loop}").load(options))
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_timed(loop, json.loads(line))), file=answers, flush=True)


def _timed(loop: Loop, prompt: str) -> dict[str, object]:
    forwards = 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    handle = loop.transformer.register_forward_hook(count)
    start = perf_counter()
    codes = loop.generate(prompt)
    seconds = perf_counter() - start
    handle.remove()
    return {"forwards": forwards, "seconds": seconds, "codes": codes}


if __name__ == "__main__":
    # Before PyTorch is imported, and as zipar's worker does: what is compared are loops, not how threads wait.
    settle_threads_(os.environ)
    main()
