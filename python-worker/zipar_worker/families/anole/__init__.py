"""Anole (GAIR): Meta's Chameleon, taught to draw again.

Image tokens follow each other in raster order without a row-end token. What a directory holds, in Meta's layout
(`meta.py`) or that of transformers: `files.py`; the prompt: `prompt.py`; what the official code makes of it:
`facts.py`. The image tokenizer is Meta's: `vq/chameleon_files.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.anole.facts import model_of
from zipar_worker.families.anole.files import (
    find_meta_model,
    has_image_decoder,
    is_called_anole,
    read_files,
)
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.model import OpenedModel

_FOLDER = "models/7b"
_TOKENIZERS = hub_source("GAIR/Anole-7b-v0.1", "tokenizer")

COMPANIONS: Mapping[str, Companions] = {
    "GAIR/Anole-7b-v0.1": Companions(folder=_FOLDER, vq=_TOKENIZERS),
    f"GAIR/Anole-7b-v0.1/{_FOLDER}": Companions(vq=_TOKENIZERS),
}


def recognises(path: Path) -> bool:
    """A Lumina-mGPT is a Chameleon too, but has no decoder of images among its weights."""
    if find_meta_model(path) is not None:
        return True
    return model_type_of(path) == "chameleon" and (is_called_anole(path) or has_image_decoder(path))


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of either published layout. Raises `checkpoint`."""
    return model_of(read_files(path, options))
