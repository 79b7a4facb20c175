"""Emu3-Gen (BAAI): images of eight shapes from text, each row of tokens ended by a token of its own.

The rest of the family: `files.py` (what a directory holds), `vocabulary.py` (ids and prompts), `facts.py` (what the
official code does with them), and `vq/emu3.py` (pixels).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.facts import model_of
from zipar_worker.families.emu3.files import MODEL_TYPES, read_files
from zipar_worker.families.model import OpenedModel

COMPANIONS: Mapping[str, Companions] = {
    "BAAI/Emu3-Gen": Companions(vq=hub_source("BAAI/Emu3-VisionTokenizer")),
    "BAAI/Emu3-Stage1": Companions(vq=hub_source("BAAI/Emu3-VisionTokenizer")),
}


def recognises(path: Path) -> bool:
    return model_type_of(path) in MODEL_TYPES


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of either published layout. Raises `checkpoint`."""
    return model_of(read_files(path, options))
