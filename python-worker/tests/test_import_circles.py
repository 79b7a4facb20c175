"""No module of the worker imports itself by way of others.

Imports within functions and under `TYPE_CHECKING` count: they hide a circle, and do not undo it.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parents[1]


def find_circle(package: Path) -> str:
    """An import circle such as "a.b -> a.c -> a.b", "" where there is none."""
    files = {module_name(path.relative_to(package.parent)): path for path in package.rglob("*.py")}
    graph = {name: set(imported_modules(path, files.keys())) - {name} for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, modules: Collection[str]) -> Iterator[str]:
    """Those of `modules` that a file names. `from a import b` names a module `a.b` where there is one, else `a`."""
    for outer, inner in imported_names(path):
        yield from [name for name in (inner, outer) if name in modules][:1]


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """For `from a import b`: `a` and `a.b`; for `import a`: `a` twice."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, (
                f"{path}:{node.lineno} imports relatively; expected absolute imports"
            )
            yield from ((node.module, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("package", ["zipar_worker", "zipar_ray", "zipar_testing"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    assert find_circle(WORKER / package) == ""


@pytest.mark.parametrize(
    "second",
    [
        "import pack.first",
        "def late() -> None:\n    from pack.first import X",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import first",
        "from pack import NAME",
    ],
    ids=["plain", "in a function", "for types alone", "of the package"],
)
def test_a_circle_is_found_however_it_is_hidden(tmp_path: Path, second: str) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("from pack.first import NAME\n")
    (package / "first.py").write_text("import os\nfrom pack.second import Y\n")
    (package / "second.py").write_text("from pathlib import Path\n")
    assert find_circle(package) == ""
    (package / "second.py").write_text(second)
    assert "pack.first -> pack.second" in find_circle(package)


@pytest.mark.parametrize("package", ["zipar_worker", "zipar_ray"])
def test_the_package_imports_nothing_that_does_not_ship_with_it(package: str) -> None:
    imported = {outer.split(".")[0] for path in (WORKER / package).rglob("*.py") for outer, _ in imported_names(path)}
    assert "zipar_worker" in imported
    assert not imported & {"zipar_testing", "zipar_demo", "tests"}
