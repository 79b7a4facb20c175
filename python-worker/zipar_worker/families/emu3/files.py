"""Which files an Emu3 checkpoint consists of, and what they are called in each of the two published layouts.

Original: `BAAI/Emu3-Gen`, a flat `config.json` with the model type "Emu3", and the image tokenizer in a directory of
its own, `BAAI/Emu3-VisionTokenizer`. Converted for transformers: `BAAI/Emu3-Gen-hf`, everything in one directory.
Facts: `configuration_emu3.py` of baaivision/Emu3 (Apache-2.0), `conversion_mapping.py` of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import of_another_kind, read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.belonging import check_codebook, check_ids, check_vocabulary, ids_of_config
from zipar_worker.families.emu3.vocabulary import (
    SPECIAL_NAMES,
    Vocabulary,
    code_name,
    read_tiktoken,
    read_tokenizer_json,
)
from zipar_worker.families.emu3.vq import (
    CONFIG_NAME,
    VQ_MODEL_TYPE,
    ImageTokenizer,
    converted_image_tokenizer,
    image_tokenizer_near,
    open_image_tokenizer,
)
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS

ORIGINAL_MODEL_TYPE = "Emu3"
CONVERTED_MODEL_TYPE = "emu3"
MODEL_TYPES = (ORIGINAL_MODEL_TYPE, CONVERTED_MODEL_TYPE, VQ_MODEL_TYPE)
"""The last is the image tokenizer's, which alone is no model and is refused by name."""

OFFICIAL_IMAGE_AREA = 720 * 720
"""Pixels. A checkpoint for another area says so as `image_area` in its config.json."""

DEFAULTS = LlamaConfig(
    vocab_size=184622,
    intermediate_size=14336,
    num_key_value_heads=8,
    max_position_embeddings=9216,
    rms_norm_eps=1e-5,
    rope_theta=1e6,
)
"""Of `configuration_emu3.py`, for what a file leaves out."""

# The first in the files of transformers' own writing, the second in those that hold the keys of its modules.
_CONVERTED_TEXT_PREFIXES = ("text_model.model.", "model.text_model.")
_CONVERTED_LANDMARKS = tuple(f"{prefix}embed_tokens.weight" for prefix in _CONVERTED_TEXT_PREFIXES)
_CONVERTED_HEADS = ("text_model.lm_head.", "lm_head.")
_CONVERTED_VQ_PREFIXES = ("vqmodel.", "model.vqmodel.")


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read. The head has the rows of the whole vocabulary."""

    config: LlamaConfig
    weights: Checkpoint
    keys: KeyMap
    vocabulary: Vocabulary
    image_tokenizer: ImageTokenizer | None
    image_area: int


def read_files(directory: Path, options: OpenOptions) -> Files:
    """Raises `checkpoint` where a file is missing, damaged, of another kind, or does not fit the others."""
    config_path = directory / CONFIG_NAME
    fields = read_json(config_path)
    if fields.get("model_type") == ORIGINAL_MODEL_TYPE:
        files = _read_original(directory, fields, options)
    elif fields.get("model_type") == CONVERTED_MODEL_TYPE:
        files = _read_converted(directory, fields, options)
    else:
        raise of_another_kind(config_path, fields, "an Emu3 model that makes images")
    check_vocabulary(config_path, files.config, files.weights, files.keys, files.vocabulary)
    if files.image_tokenizer is not None:
        check_codebook(
            files.image_tokenizer.weights.path,
            files.image_tokenizer.config.codebook_size,
            files.vocabulary,
            "BAAI/Emu3-VisionTokenizer",
        )
    return files


def _read_original(directory: Path, fields: Mapping[str, Any], options: OpenOptions) -> Files:
    config_path = directory / CONFIG_NAME
    vq_path = options.vq_path or image_tokenizer_near(directory)
    vocabulary = read_tiktoken(directory)
    check_ids(config_path, ids_of_config(fields), vocabulary)
    weights = open_checkpoint(directory, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    config = read_llama_config(config_path, fields, DEFAULTS)
    check_llama_claims(config_path, weights, config)
    keys = KeyMap(LLAMA_MODEL_KEYS)
    return Files(
        config=config,
        weights=with_tied_head(config_path, weights, keys, config.tie_word_embeddings),
        keys=keys,
        vocabulary=vocabulary,
        image_tokenizer=open_image_tokenizer(vq_path, options.weights_key) if vq_path is not None else None,
        image_area=_image_area(config_path, fields),
    )


def _read_converted(directory: Path, fields: Mapping[str, Any], options: OpenOptions) -> Files:
    config_path = directory / CONFIG_NAME
    vocabulary = read_tokenizer_json(directory)
    declared = _part(config_path, fields, "vocabulary_map")
    relevant = (*SPECIAL_NAMES, code_name(0), code_name(vocabulary.code_count - 1))
    check_ids(config_path, {name: declared[name] for name in relevant if name in declared}, vocabulary)
    weights = open_checkpoint(directory, Sought(_CONVERTED_LANDMARKS, key=options.weights_key))
    text, head, vq = (
        _prefix_in(weights, prefixes)
        for prefixes in (_CONVERTED_TEXT_PREFIXES, _CONVERTED_HEADS, _CONVERTED_VQ_PREFIXES)
    )
    config = read_llama_config(config_path, _part(config_path, fields, "text_config"), DEFAULTS)
    check_llama_claims(config_path, weights, config)
    if options.vq_path is not None:
        image_tokenizer = open_image_tokenizer(options.vq_path, options.weights_key)
    else:
        vq_fields = _part(config_path, fields, "vq_config")
        image_tokenizer = converted_image_tokenizer(config_path, vq_fields, weights, vq)
    keys = KeyMap((*LLAMA_MODEL_KEYS, (r"^lm_head\.", head), (r"^model\.", text)), elsewhere=vq)
    is_tied = config.tie_word_embeddings or fields.get("tie_word_embeddings") is True
    return Files(
        config=config,
        weights=with_tied_head(config_path, weights, keys, is_tied),
        keys=keys,
        vocabulary=vocabulary,
        image_tokenizer=image_tokenizer,
        image_area=_image_area(config_path, fields),
    )


def _image_area(path: Path, fields: Mapping[str, Any]) -> int:
    """Pixels of an image, whatever its shape."""
    area = fields.get("image_area", OFFICIAL_IMAGE_AREA)
    if not isinstance(area, int) or not 64 <= area <= 1 << 24:
        raise unusable(path, f"image_area is {area!r}; expected pixels, {OFFICIAL_IMAGE_AREA} in Emu3-Gen")
    return area


def _part(path: Path, fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields within a field."""
    inner = fields.get(name)
    if not isinstance(inner, dict):
        raise unusable(path, f"it has no {name}, which Emu3-Gen-hf has")
    return inner


def _prefix_in(weights: Checkpoint, prefixes: tuple[str, ...]) -> str:
    """That with which keys of the file begin; the first where none does, for the loader to name what is missing."""
    found = (prefix for prefix in prefixes if any(key.startswith(prefix) for key in weights.tensors))
    return next(found, prefixes[0])
