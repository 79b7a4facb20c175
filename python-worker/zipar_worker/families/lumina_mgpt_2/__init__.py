"""Lumina-mGPT 2.0 (Alpha-VLLM): Lumina-mGPT's decoder and prompts with Qwen's text tokenizer and MoVQGAN's codes.

What a directory holds, its image tokenizer and its vocabulary: `files.py`, `vq.py`, `vocabulary.py`; what the official
code makes of them: `facts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.small_files import glance_json
from zipar_worker.checkpoints.sources import Companions, hub_source
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.lumina_mgpt_2.facts import model_of
from zipar_worker.families.lumina_mgpt_2.files import CONFIG_NAME, MODEL_TYPE, read_files
from zipar_worker.families.lumina_mgpt_2.vocabulary import FIRST_CODE
from zipar_worker.families.lumina_mgpt_2.vq import WEIGHTS_NAME
from zipar_worker.families.model import OpenedModel

_MOVQGAN = Companions(vq=hub_source("ai-forever/MoVQGAN", WEIGHTS_NAME))

COMPANIONS: Mapping[str, Companions] = {
    "Alpha-VLLM/Lumina-mGPT-2.0": _MOVQGAN,
    "Alpha-VLLM/Lumina-mGPT-2.0-Omni": _MOVQGAN,
}


def recognises(path: Path) -> bool:
    """Chameleons share a model type, but the vocabulary of no other reaches to where the codes of this one begin."""
    fields = glance_json(path / CONFIG_NAME) or {}
    size = fields.get("vocab_size")
    return fields.get("model_type") == MODEL_TYPE and isinstance(size, int) and size > FIRST_CODE


def open_model(path: Path, options: OpenOptions) -> OpenedModel:
    """Opens a directory of the hub. Raises `checkpoint`."""
    return model_of(read_files(path, options))
