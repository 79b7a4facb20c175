"""STAR (MM-MVR): Qwen2.5-VL, with a second stack of layers on top that draws 24 x 24 tokens.

What belongs to a checkpoint, and where each part lies: `files.py`; the prompt: `prompt.py`; embeddings and head:
`transformer.py`; what the official code makes of them: `facts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.model import OpenedModel
from zipar_worker.families.star.facts import model_of
from zipar_worker.families.star.files import VQ_NAME, find_weights, read_files

COMPANIONS: Mapping[str, Companions] = {
    f"MM-MVR/STAR-{size}{file}": Companions(
        vq=hub_source("MM-MVR/STAR-VQ", VQ_NAME), text_encoder=hub_source(f"Qwen/Qwen2.5-VL-{size}-Instruct")
    )
    for size in ("3B", "7B")
    for file in ("", f"/STAR-{size}.pt")
}


def recognises(path: Path) -> bool:
    """By the official name of the weights, which is all that lies in a repository."""
    return find_weights(path) is not None


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens the weights file, or the directory that holds it. Raises `checkpoint`."""
    return model_of(read_files(path, options))
