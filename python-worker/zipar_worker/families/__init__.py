"""Which family a checkpoint belongs to. What a new one needs: docs/adding-a-family.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from zipar_worker.checkpoints.foreign_weights import refuse_adapter_directory
from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.checkpoints.sidecar import SIDECAR_NAME, read_family_name
from zipar_worker.checkpoints.small_files import read_json
from zipar_worker.checkpoints.sources import Companions
from zipar_worker.errors import WorkerError, listed
from zipar_worker.families import (
    anole,
    emu3,
    emu3_5,
    janus,
    liquid,
    llamagen,
    lumina_mgpt,
    lumina_mgpt_2,
    simplear,
    star,
)
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.model import OpenedModel
from zipar_worker.wire.protocol import PathSource, Source


class FamilyModule(Protocol):
    """What the folder of a family offers."""

    COMPANIONS: Mapping[str, Companions]
    """By `owner/name` or a pattern of `owner/name/file`, from the README files of the official repositories."""

    def recognises(self, path: Path) -> bool:
        """Whether an existing directory or file looks like a checkpoint of this family; a glance, not a check."""
        ...

    def open_model(self, path: Path, options: OpenOptions) -> OpenedModel:
        """Raises `checkpoint`."""
        ...


FAMILIES: Mapping[str, FamilyModule] = {
    "star": star,
    "llamagen": llamagen,
    "emu3-5": emu3_5,
    "emu3": emu3,
    "lumina-mgpt-2": lumina_mgpt_2,
    "anole": anole,
    "lumina-mgpt": lumina_mgpt,
    "janus": janus,
    "liquid": liquid,
    "simplear": simplear,
}
"""In the order in which they are asked: Emu3.5 calls itself Emu3, Lumina-mGPT 2.0 and some Anoles a Chameleon, and
weights without a configuration are LlamaGen's where they do not have STAR's name."""


def companions_of(weights: Source) -> Companions:
    """None for a path: whoever brings files brings all of them."""
    if isinstance(weights, PathSource):
        return Companions()
    name = f"{weights.repository}/{weights.path}" if weights.path else weights.repository
    known = (entry for family in FAMILIES.values() for entry in family.COMPANIONS.items())
    return next((found for pattern, found in known if fnmatchcase(name, pattern)), Companions())


def open_family(path: Path, options: OpenOptions) -> OpenedModel:
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
    refuse_adapter_directory(path)
    opened = _family_of(path).open_model(path, options)
    return replace(opened, remarks=(*opened.remarks, *_remarks(path, opened, options.weights_key)))


def _family_of(path: Path) -> FamilyModule:
    if (path / SIDECAR_NAME).is_file():
        name = read_family_name(path)
        if name not in FAMILIES:
            raise WorkerError(
                "checkpoint",
                f"{path / SIDECAR_NAME} names the family {name!r}; this version knows {', '.join(FAMILIES)}.",
            )
        return FAMILIES[name]
    for family in FAMILIES.values():
        if family.recognises(path):
            return family
    raise _unrecognised(path)


def _remarks(path: Path, opened: OpenedModel, weights_key: str | None) -> list[str]:
    """Which sets of weights were chosen. Raises `checkpoint` where the user named one that no file has."""
    parts = {"weights": opened.transformer.checkpoint}
    if opened.image_tokenizer is not None and opened.image_tokenizer.checkpoint.path != parts["weights"].path:
        parts["image tokenizer"] = opened.image_tokenizer.checkpoint
    if weights_key is not None and not any(part.chosen for part in parts.values()):
        raise WorkerError(
            "checkpoint",
            f"No file of {path} holds weights called {weights_key!r}; each holds one set alone. Leave `--weights-key` "
            f"out.",
        )
    chosen = [f"{name}: {part.chosen}, not {listed(part.others)}" for name, part in parts.items() if part.others]
    return [*chosen, *parts["weights"].remarks]


def _unrecognised(path: Path) -> WorkerError:
    configuration = path / "config.json"
    if configuration.is_file():
        model_type = read_json(configuration).get("model_type")
        found = f"its config.json names the model type {model_type!r}"
    else:
        names = ", ".join(sorted(file.name for file in path.iterdir())[:6])
        found = f"it holds {names or 'nothing'}"
    return WorkerError(
        "checkpoint",
        f"{path} is no checkpoint of a family that this version knows ({', '.join(FAMILIES)}): {found}. Expected the "
        f"files of an official checkpoint, a {SIDECAR_NAME}, or the path of a weights file.",
    )
