"""SimpleAR (Fudan University): Qwen2.5 with the 64,000 codes of NVIDIA's Cosmos tokenizer behind its vocabulary.

Image tokens follow each other in raster order without a row-end token. What a directory holds: `files.py`; the prompt:
`prompt.py`; what the official code makes of it: `facts.py`. The image tokenizer: `vq/cosmos.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.model import OpenedModel
from zipar_worker.families.simplear.facts import model_of
from zipar_worker.families.simplear.files import read_files
from zipar_worker.families.vq.cosmos_files import REPOSITORY, WEIGHTS_NAME

COMPANIONS: Mapping[str, Companions] = {
    "Daniel0724/SimpleAR-*": Companions(vq=hub_source(REPOSITORY, WEIGHTS_NAME)),
}


def recognises(path: Path) -> bool:
    return model_type_of(path) == "qwen2"


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of the hub. Raises `checkpoint`."""
    return model_of(read_files(path, options))
