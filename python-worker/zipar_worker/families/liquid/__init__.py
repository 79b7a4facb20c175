"""Liquid (Foundation Vision): Gemma with Chameleon's image codes behind its vocabulary.

Image tokens follow each other in raster order without a row-end token. What a directory holds: `files.py`; the prompt:
`prompt.py`; what the official code makes of it: `facts.py`. The image tokenizer is Meta's: `vq/chameleon_files.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.liquid.facts import model_of
from zipar_worker.families.liquid.files import read_files
from zipar_worker.families.model import OpenedModel

COMPANIONS: Mapping[str, Companions] = {
    # The official download is a space of the hub, not a repository of models. These are the same files of Meta's.
    "Junfeng5/Liquid_V1_7B": Companions(vq=hub_source("GAIR/Anole-7b-v0.1", "tokenizer")),
}


def recognises(path: Path) -> bool:
    return model_type_of(path) == "gemma"


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of the hub. Raises `checkpoint`."""
    return model_of(read_files(path, options))
