"""What a checkpoint of Lumina-mGPT 2.0 is, before its tensors are read: a directory of the Hugging Face hub.

Facts: README.md and `lumina_mgpt/model/chameleon/` of Alpha-VLLM/Lumina-mGPT-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import of_another_kind, read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.lumina_mgpt.files import DEFAULTS as CHAMELEON
from zipar_worker.families.lumina_mgpt.files import check_vocabulary
from zipar_worker.families.lumina_mgpt.prompt import PIXELS_PER_SIZE_UNIT, PromptTokenizer, known_sizes
from zipar_worker.families.lumina_mgpt_2.vocabulary import FIRST_CODE, read_tokenizer
from zipar_worker.families.lumina_mgpt_2.vq import ImageTokenizer, open_image_tokenizer
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS

CONFIG_NAME = "config.json"
MODEL_TYPE = "chameleon"

KEYS = KeyMap(LLAMA_MODEL_KEYS, elsewhere=r"model\.vqmodel\.")
"""Chameleon's image tokenizer, which the official class still builds and never calls, is passed over."""

OFFICIAL = structs.replace(CHAMELEON, vocab_size=171385, max_position_embeddings=10240)
"""The published sizes."""

_OFFICIAL_TARGET = 768
"""Side in pixels of the square that the published checkpoints were trained for."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read. `target`: see `known_sizes`."""

    name: str
    checkpoint: Checkpoint
    config_path: Path
    config: LlamaConfig
    has_output_norms: bool
    target: int
    tokenizer: PromptTokenizer
    image_tokenizer: ImageTokenizer | None


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory holds. Reads shapes, not tensors. Raises `checkpoint`."""
    config_path = path / CONFIG_NAME
    fields = read_json(config_path)
    if fields.get("model_type") != MODEL_TYPE:
        raise of_another_kind(config_path, fields, "Lumina-mGPT 2.0 (chameleon)")
    config = read_llama_config(config_path, fields, CHAMELEON)
    if config.vocab_size <= FIRST_CODE:
        raise unusable(
            config_path,
            f"its vocab_size is {config.vocab_size}; expected more than {FIRST_CODE}, the id of the first code",
        )
    if fields.get("mask_image_logits") is True:
        raise unusable(config_path, "mask_image_logits is true: such a model draws nothing; expected false")
    target = _target(options.size)
    tokenizer = read_tokenizer(path, config.vocab_size)
    check_vocabulary(path, config, tokenizer, target)
    codes = tokenizer.vocabulary.codes
    image_tokenizer = open_image_tokenizer(path, options.vq_path, len(codes), options.weights_key)
    checkpoint = open_checkpoint(path, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    check_llama_claims(config_path, checkpoint, config)
    checkpoint = with_tied_head(config_path, checkpoint, KEYS, config.tie_word_embeddings)
    swin = fields.get("swin_norm") is True
    return Files(_name(path), checkpoint, config_path, config, swin, target, tokenizer, image_tokenizer)


def _name(path: Path) -> str:
    """A directory of the hub's cache is called after its revision, and one above it after the repository."""
    is_omni = any("2.0-omni" in part.lower() for part in path.absolute().parts)
    return "Lumina-mGPT-2.0-Omni" if is_omni else "Lumina-mGPT-2.0"


def _target(size: tuple[int, int] | None) -> int:
    """The side of the square that the model is used for: the official code takes any, and no file names one."""
    if size is None or size in known_sizes(_OFFICIAL_TARGET):
        return _OFFICIAL_TARGET
    width, height = size
    if width == height and width > 0 and width % PIXELS_PER_SIZE_UNIT == 0:
        return width
    sizes = ", ".join(f"{across}x{down}" for across, down in known_sizes(_OFFICIAL_TARGET))
    raise WorkerError(
        "checkpoint",
        f"{width} x {height} pixels is a size of no Lumina-mGPT 2.0. Expected a square in steps of "
        f"{PIXELS_PER_SIZE_UNIT} pixels, or one of {sizes}.",
    )
