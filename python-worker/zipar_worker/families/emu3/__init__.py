"""Emu3-Gen (BAAI): images of eight shapes from text, each row of tokens ended by a token of its own.

The rest of the family: `layouts.py` (files), `config.py` (sizes), `vocabulary.py` (ids and prompts),
`model.py` (execution), `vq/emu3.py` (pixels).
"""

from __future__ import annotations

import json
from pathlib import Path

from zipar_worker.families.family import OpenedCheckpoint, OpenOptions

_MODEL_TYPES = ("Emu3", "emu3", "Emu3VisionVQ")
"""Of the original, of the conversion for transformers, and of the image tokenizer, which alone is no model."""


def recognises(path: Path) -> bool:
    """Whether the directory's config.json names a model type of Emu3's."""
    try:
        fields = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(fields, dict) and fields.get("model_type") in _MODEL_TYPES


def open_checkpoint_directory(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """Opens a directory of either published layout. Raises `checkpoint`."""
    # transformers takes seconds to import, which only its checkpoints shall cost.
    from zipar_worker.families.emu3.model import open_emu3

    return open_emu3(path, options)
