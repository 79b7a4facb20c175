"""Which files an Emu3 checkpoint consists of, and what they are called in each of the two published layouts.

Original: `BAAI/Emu3-Gen`, a flat `config.json` with the model type "Emu3", and the image tokenizer in a directory of
its own, `BAAI/Emu3-VisionTokenizer`. Converted for transformers: `BAAI/Emu3-Gen-hf`, everything in one directory. Keys
of either are renamed to those of `emu3_model.Emu3Transformer` and `vq.emu3.Emu3VQDecoder`. Facts:
`modeling_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0), `conversion_mapping.py` of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Emu3TextConfig, Emu3VQVAEConfig

from zipar_worker.checkpoints.checkpoint import Checkpoint, open_checkpoint
from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.errors import WorkerError
from zipar_worker.families.emu3.config import (
    image_area,
    of_another_kind,
    original_vq_config,
    part,
    read_fields,
    text_config,
    vq_config,
)
from zipar_worker.families.emu3.vocabulary import (
    BEGIN,
    BEGIN_IMAGE,
    END_ROW,
    END_SIZE,
    PADDING,
    SPECIAL_NAMES,
    Vocabulary,
    code_name,
    read_tiktoken,
    read_tokenizer_json,
)

CONFIG_NAME = "config.json"
ORIGINAL_MODEL_TYPE = "Emu3"
ORIGINAL_VQ_MODEL_TYPE = "Emu3VisionVQ"
CONVERTED_MODEL_TYPE = "emu3"

VISION_TOKENIZER_NAMES = ("Emu3-VisionTokenizer", "vision_tokenizer")
"""Directories in which the image tokenizer is looked for, within that of the checkpoint and beside it."""

_ORIGINAL_VQ_KEYS = (
    (re.compile(r"\.mid\.attn_1\.norm\."), ".middle_block.attn_norm."),
    (re.compile(r"\.attn\.(\d+)\.norm\."), r".attn_norms.\1."),
    (re.compile(r"\.(q|k|v)\.(weight|bias)$"), r".\1_proj.\2"),
    (re.compile(r"\.proj_out\.(weight|bias)$"), r".out_proj.\1"),
    (re.compile(r"^decoder\.mid\."), "decoder.middle_block."),
    (re.compile(r"^decoder\.up\."), "decoder.up_block.up."),
)
# In the files of transformers' own writing, and in those that hold the keys of its modules.
_CONVERTED_TEXT_KEY = re.compile(r"^(?:text_model\.model|model\.text_model)\.")
_CONVERTED_VQ_KEY = re.compile(r"^(?:model\.)?vqmodel\.")
_UNUSED_VQ_KEY = re.compile(r"^(?:encoder|quant_conv)\.|\.num_batches_tracked$")


@dataclass(frozen=True, slots=True)
class ImageTokenizerFiles:
    """weights: under the keys of `Emu3VQDecoder`, for which `adapt_vq_tensor` gives them their shapes."""

    config: Emu3VQVAEConfig
    weights: Checkpoint


@dataclass(frozen=True, slots=True)
class Emu3Files:
    """weights: under the keys of `Emu3Transformer`, `lm_head.weight` with the rows of the whole vocabulary."""

    config: Emu3TextConfig
    weights: Checkpoint
    vocabulary: Vocabulary
    image_tokenizer: ImageTokenizerFiles | None
    image_area: int


def open_files(directory: Path, vq_path: Path | None) -> Emu3Files:
    """Raises `checkpoint` where a file is missing, damaged, of another kind, or does not fit the others."""
    config_path = directory / CONFIG_NAME
    fields = read_fields(config_path)
    if fields.get("model_type") == ORIGINAL_MODEL_TYPE:
        files = _open_original(directory, fields, vq_path or _vision_tokenizer_near(directory))
    elif fields.get("model_type") == CONVERTED_MODEL_TYPE:
        files = _open_converted(directory, fields, vq_path)
    else:
        raise of_another_kind(config_path, fields, "an Emu3 model that makes images")
    _check_vocabulary(config_path, files)
    return files


def adapt_vq_tensor(name: str, tensor: Tensor) -> Tensor:
    """The original's attention has convolutions of 1 x 1, [out, in, 1, 1], where that of transformers has matrices."""
    return tensor[:, :, 0, 0] if name.endswith("_proj.weight") and tensor.dim() == 4 else tensor


def original_vq_key(name: str) -> str | None:
    """What `Emu3VQDecoder` calls a tensor of `BAAI/Emu3-VisionTokenizer`; None for what only its encoder needs."""
    if _UNUSED_VQ_KEY.search(name):
        return None
    for pattern, replacement in _ORIGINAL_VQ_KEYS:
        name = pattern.sub(replacement, name)
    return name


def _open_original(directory: Path, fields: Mapping[str, Any], vq_path: Path | None) -> Emu3Files:
    config_path = directory / CONFIG_NAME
    vocabulary = read_tiktoken(directory)
    names = {"pad_token_id": PADDING, "bos_token_id": BEGIN, "boi_token_id": BEGIN_IMAGE}
    names |= {"img_token_id": END_SIZE, "eol_token_id": END_ROW}
    _check_ids(config_path, {name: fields[field] for field, name in names.items() if field in fields}, vocabulary)
    return Emu3Files(
        config=text_config(config_path, fields),
        weights=open_checkpoint(directory),
        vocabulary=vocabulary,
        image_tokenizer=_open_vision_tokenizer(vq_path) if vq_path is not None else None,
        image_area=image_area(config_path, fields),
    )


def _open_converted(directory: Path, fields: Mapping[str, Any], vq_path: Path | None) -> Emu3Files:
    config_path = directory / CONFIG_NAME
    vocabulary = read_tokenizer_json(directory)
    declared = part(config_path, fields, "vocabulary_map")
    relevant = (*SPECIAL_NAMES, code_name(0), code_name(vocabulary.code_count - 1))
    _check_ids(config_path, {name: declared[name] for name in relevant if name in declared}, vocabulary)
    checkpoint = open_checkpoint(directory)
    if vq_path is not None:
        image_tokenizer = _open_vision_tokenizer(vq_path)
    else:
        weights = checkpoint.renamed(_converted_vq_key)
        image_tokenizer = ImageTokenizerFiles(vq_config(config_path, part(config_path, fields, "vq_config")), weights)
    return Emu3Files(
        config=text_config(config_path, part(config_path, fields, "text_config")),
        weights=checkpoint.renamed(_converted_text_key),
        vocabulary=vocabulary,
        image_tokenizer=image_tokenizer,
        image_area=image_area(config_path, fields),
    )


def _open_vision_tokenizer(path: Path) -> ImageTokenizerFiles:
    """A directory like `BAAI/Emu3-VisionTokenizer`, or the weights file in one."""
    directory = path.parent if path.is_file() else path
    refuse_outside_links(directory)
    config_path = directory / CONFIG_NAME
    fields = read_fields(config_path)
    if fields.get("model_type") != ORIGINAL_VQ_MODEL_TYPE:
        raise of_another_kind(config_path, fields, "Emu3's image tokenizer, BAAI/Emu3-VisionTokenizer")
    weights = open_checkpoint(path).renamed(original_vq_key)
    return ImageTokenizerFiles(original_vq_config(config_path, fields), weights)


def _vision_tokenizer_near(directory: Path) -> Path | None:
    places = (parent / name for parent in (directory, directory.parent) for name in VISION_TOKENIZER_NAMES)
    return next((place for place in places if (place / CONFIG_NAME).is_file()), None)


def _converted_text_key(name: str) -> str | None:
    if _CONVERTED_VQ_KEY.match(name):
        return None
    return "lm_head.weight" if name == "text_model.lm_head.weight" else _CONVERTED_TEXT_KEY.sub("model.", name)


def _converted_vq_key(name: str) -> str | None:
    own, count = _CONVERTED_VQ_KEY.subn("", name)
    return own if count and not _UNUSED_VQ_KEY.search(own) else None


def _check_ids(path: Path, declared: Mapping[str, object], vocabulary: Vocabulary) -> None:
    for name, token in declared.items():
        if vocabulary.ids.get(name) != token:
            raise WorkerError(
                "checkpoint",
                f"{path} gives the token {name} the id {token}, {vocabulary.path} the id {vocabulary.ids.get(name)}. "
                f"They do not belong together, or the vocabulary is incomplete: download both from one repository.",
            )


def _check_vocabulary(path: Path, files: Emu3Files) -> None:
    vocabulary, image_tokenizer = files.vocabulary, files.image_tokenizer
    # Of this tensor only some rows are loaded, whose count would tell nothing.
    output_shape, expected = files.weights.shape("lm_head.weight"), (files.config.vocab_size, files.config.hidden_size)
    if output_shape != expected:
        raise WorkerError(
            "checkpoint",
            f"{files.weights.path}: the tensor lm_head.weight has the shape {list(output_shape)}; {path} asks for "
            f"{list(expected)}. They do not belong together: download both from one repository.",
        )
    highest = max(vocabulary.ids.values())
    if highest >= files.config.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{path} gives the model {files.config.vocab_size} tokens, but {vocabulary.path} numbers them up to "
            f"{highest}. They do not belong together: download both from one repository.",
        )
    if image_tokenizer is not None and image_tokenizer.config.codebook_size != vocabulary.code_count:
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer {image_tokenizer.weights.path} has {image_tokenizer.config.codebook_size} codes, but "
            f"{vocabulary.path} has {vocabulary.code_count} visual tokens. They do not belong together: use the image "
            f"tokenizer that the model was trained with, BAAI/Emu3-VisionTokenizer.",
        )
