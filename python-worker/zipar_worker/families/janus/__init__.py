"""Janus and Janus-Pro (deepseek-ai): text to images of one size, by a Llama with a separate path for image tokens.

Image tokens follow each other in raster order without a row-end token. What a checkpoint is: `files.py` and
`config.py`; the transformer: `transformer.py`; the prompt: `prompt.py`; what the official code makes of it: `facts.py`.
The image tokenizer is LlamaGen's: `vq/llamagen.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import model_type_of
from zipar_worker.checkpoints.sources import Companions
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.janus.config import MODEL_TYPES
from zipar_worker.families.janus.facts import model_of
from zipar_worker.families.janus.files import read_files
from zipar_worker.families.model import OpenedModel

COMPANIONS: Mapping[str, Companions] = {}


def recognises(path: Path) -> bool:
    return model_type_of(path) in MODEL_TYPES


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of either published layout. Raises `checkpoint`."""
    return model_of(read_files(path, options))
