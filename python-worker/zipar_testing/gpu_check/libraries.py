"""What the check needs, found out before anything of it is imported."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_LIBRARIES = ("torch", "msgspec", "safetensors")
_OLDEST_PYTHON = (3, 11)


def missing_libraries() -> str | None:
    """A sentence with the remedy, or None where everything is there."""
    if sys.version_info < _OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        return f"gpu-check needs Python 3.11 or newer; {sys.executable} is Python {found}. Run it with another one."
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"gpu-check needs {', '.join(_LIBRARIES)}; {sys.executable} has no {', '.join(missing)}. Install what is "
        f"missing:\n  {sys.executable} -m pip install {' '.join(missing)}"
    )
