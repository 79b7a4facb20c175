"""Which family a checkpoint belongs to. A new family is one module in this folder and one entry in `FAMILIES`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.checkpoints.sidecar import SIDECAR_NAME, read_family_name
from zipar_worker.errors import WorkerError
from zipar_worker.families.family import OpenedCheckpoint, OpenOptions

FAMILIES: Mapping[str, str] = {
    "llamagen": "llamagen",
    "emu3": "emu3",
    "lumina-mgpt": "lumina_mgpt",
    "janus": "janus",
}
"""Names of families and their modules in this folder, in the order in which they are asked; see `FamilyModule`.

A module is imported when it is needed: most of them import the transformers library, which takes seconds.
"""


class FamilyModule(Protocol):
    """What the module of a family offers."""

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
    for place in (path, options.vq_path, options.text_encoder_path):
        if place is not None and place.is_dir():
            refuse_outside_links(place)
    if (path / SIDECAR_NAME).is_file():
        name = read_family_name(path)
        if name not in FAMILIES:
            raise WorkerError(
                "checkpoint",
                f"{path / SIDECAR_NAME} names the family {name!r}; this version knows {', '.join(FAMILIES)}.",
            )
        return _family_module(name).open_checkpoint_directory(path, options)
    for module in map(_family_module, FAMILIES):
        if module.recognises(path):
            return module.open_checkpoint_directory(path, options)
    raise _unrecognised(path)


def _family_module(name: str) -> FamilyModule:
    return cast(FamilyModule, import_module(f"zipar_worker.families.{FAMILIES[name]}"))


def _unrecognised(path: Path) -> WorkerError:
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
        f"{path} is no checkpoint of a family that this version knows ({', '.join(FAMILIES)}): {found}. Expected the "
        f"files of an official checkpoint, a {SIDECAR_NAME}, or the path of a weights file.",
    )
