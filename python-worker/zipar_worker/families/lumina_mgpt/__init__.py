"""Lumina-mGPT (Alpha-VLLM): a Chameleon decoder that tells itself an image's size and ends its rows.

What a directory holds: `files.py`, its image tokenizer: `vq/chameleon_files.py`; what the model is told: `prompt.py`;
what the official code makes of it: `facts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.lumina_mgpt.facts import model_of
from zipar_worker.families.lumina_mgpt.files import read_files
from zipar_worker.families.model import OpenedModel

COMPANIONS: Mapping[str, Companions] = {
    "Alpha-VLLM/Lumina-mGPT-7B-512": Companions(
        text_encoder=hub_source("Alpha-VLLM/Lumina-mGPT-7B-768"), tokenizer_alone=True
    ),
}


def recognises(path: Path) -> bool:
    return model_type_of(path) == "chameleon"


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of the hub. Raises `checkpoint`."""
    return model_of(read_files(path, options))
