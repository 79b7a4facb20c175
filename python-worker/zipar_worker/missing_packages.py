"""Prints the packages that every model needs and this interpreter lacks, one a line, by pip's names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

STUB_PACKAGES = {"msgspec": "msgspec", "zmq": "pyzmq"}
"""The names that are imported, and pip's."""

PACKAGES = {**STUB_PACKAGES, "safetensors": "safetensors", "torch": "torch"}


def missing_packages(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """By pip's names. Imports none of them."""
    return [package for module, package in packages.items() if find_spec(module) is None]


if __name__ == "__main__":
    for package in missing_packages():
        print(package)
