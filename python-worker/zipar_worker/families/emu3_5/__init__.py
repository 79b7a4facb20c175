"""Emu3.5 (BAAI): images of eight shapes from text, by a 34B successor of Emu3 with another image tokenizer.

The rest of the family: `files.py` (what a directory holds), `prompt.py` (what the model is told), `facts.py` (what the
official code does with them). Its vocabulary is Emu3's with more visual tokens (`emu3/vocabulary.py`), its image
tokenizer a decoder like Chameleon's (`vq/chameleon.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import glance_json
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.checkpoints.weights import glance_tensor_names
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.files import DEFAULTS as EMU3_DEFAULTS
from zipar_worker.families.emu3.files import ORIGINAL_MODEL_TYPE
from zipar_worker.families.emu3_5.facts import model_of
from zipar_worker.families.emu3_5.files import TOKENIZER_NAME, is_image_tokenizer, read_files
from zipar_worker.families.model import OpenedModel

_VISION_TOKENIZER = Companions(vq=hub_source("BAAI/Emu3.5-VisionTokenizer"))

COMPANIONS: Mapping[str, Companions] = {
    "BAAI/Emu3.5-Image": _VISION_TOKENIZER,
    "BAAI/Emu3.5": _VISION_TOKENIZER,
}

_HEAD_NORM = ".self_attn.q_norm.weight"


def recognises(path: Path) -> bool:
    """The configuration calls itself Emu3: a larger vocabulary, head norms or the other tokenizer tell them apart.

    Its image tokenizer, which alone is no model, is refused by name.
    """
    fields = glance_json(path / "config.json") or {}
    if fields.get("model_type") != ORIGINAL_MODEL_TYPE:
        return is_image_tokenizer(path)
    vocabulary_size = fields.get("vocab_size")
    is_larger = isinstance(vocabulary_size, int) and vocabulary_size > EMU3_DEFAULTS.vocab_size
    has_head_norms = any(name.endswith(_HEAD_NORM) for name in glance_tensor_names(path))
    return is_larger or has_head_norms or (path / TOKENIZER_NAME).is_dir()


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of the hub. Raises `checkpoint`."""
    return model_of(read_files(path, options))
