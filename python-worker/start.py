"""Runs a module with nothing but the interpreter's own environment on its path: `python -I start.py FOLDER MODULE ...`.

`-I` keeps the working directory, the user's own packages and every PYTHON* variable out. FOLDER, which holds the
module, comes as an argument of its own: a list of paths cannot name a folder with a colon in its name.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    # Said here, before a newer Python's syntax is met.
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"zipar needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}")
    folder, module = sys.argv[1:3]
    del sys.argv[1:3]
    sys.path.insert(0, folder)
    add_python_path()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def add_python_path() -> None:
    """Takes over PYTHONPATH, which is left to an interpreter that the user manages, and to no program that it starts.

    Its folders come before the installed packages and behind Python's own modules, which they can never hide. A
    relative or empty one would mean the working directory.
    """
    folders = [path for path in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(path)]
    names = [os.path.basename(path) for path in sys.path]
    installed = [names.index(name) for name in ("site-packages", "dist-packages") if name in names]
    place = min(installed, default=len(sys.path))
    sys.path[place:place] = folders


if __name__ == "__main__":
    main()
