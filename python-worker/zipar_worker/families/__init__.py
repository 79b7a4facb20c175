"""Which family a checkpoint belongs to. A new family is one module in this folder and one entry in `FAMILIES`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from zipar_worker.errors import WorkerError
from zipar_worker.families.family import OpenedCheckpoint, OpenOptions
from zipar_worker.families.sidecar import SIDECAR_NAME, read_family_name

FAMILIES = ("llamagen",)
"""Modules of this folder in the order in which they are asked; see `FamilyModule`. Imported when a checkpoint opens."""


class FamilyModule(Protocol):
    """What the module of a family offers."""

    NAME: str

    def recognises(self, path: Path) -> bool:
        """Whether an existing directory or file looks like a checkpoint of this family; a glance, not a check."""
        ...

    def open_checkpoint_directory(self, path: Path, options: OpenOptions) -> OpenedCheckpoint:
        """Raises `checkpoint`."""
        ...


def open_family(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """Opens a checkpoint: a directory in a family's official layout, one with a sidecar, or a weights file.

    Raises `checkpoint`.
    """
    if not path.exists():
        raise WorkerError(
            "checkpoint",
            f"The model {path} does not exist. Give a directory or a weights file (.pt, .safetensors).",
        )
    modules = {module.NAME: module for module in map(_family_module, FAMILIES)}
    if (path / SIDECAR_NAME).is_file():
        name = read_family_name(path)
        if name not in modules:
            raise WorkerError(
                "checkpoint",
                f"{path / SIDECAR_NAME} names the family {name!r}; this version knows {', '.join(modules)}.",
            )
        return modules[name].open_checkpoint_directory(path, options)
    for module in modules.values():
        if module.recognises(path):
            return module.open_checkpoint_directory(path, options)
    raise _unrecognised(path, modules)


def _family_module(name: str) -> FamilyModule:
    return cast(FamilyModule, import_module(f"zipar_worker.families.{name}"))


def _unrecognised(path: Path, modules: Mapping[str, FamilyModule]) -> WorkerError:
    configuration = path / "config.json"
    if configuration.is_file():
        try:
            model_type = json.loads(configuration.read_bytes()).get("model_type")
        except (ValueError, AttributeError) as error:
            return WorkerError("checkpoint", f"{configuration} is not a JSON object: {error}.")
        found = f"its config.json names the model type {model_type!r}"
    else:
        names = ", ".join(sorted(file.name for file in path.iterdir())[:6])
        found = f"it holds {names or 'nothing'}"
    return WorkerError(
        "checkpoint",
        f"{path} is no checkpoint of a family that this version knows ({', '.join(modules)}): {found}. Expected the "
        f"files of an official checkpoint, a {SIDECAR_NAME}, or the path of a weights file.",
    )
