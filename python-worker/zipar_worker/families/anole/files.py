"""What an Anole checkpoint is, before its tensors are read.

Meta's layout is that of `GAIR/Anole-7b-v0.1`: `models/7b` with `consolidated.pth`, `params.json` and
`consolidate_params.json`, and `tokenizer` with the three files of `vq/chameleon_files.py`. The other is a directory of
the hub with the keys of transformers' Chameleon, which holds the image tokenizer too: `leloy/Anole-7b-v0.1-hf`. In the
latter the numbers of a head are sorted so that rotary halves lie behind one another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import glance_json, read_json
from zipar_worker.checkpoints.weights import Checkpoint, glance_tensor_names, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.anole.meta import (
    META_CONFIG_NAME,
    META_LANDMARKS,
    META_SHARDING_NAME,
    META_WEIGHTS_NAME,
    meta_keys,
    read_meta_config,
)
from zipar_worker.families.anole.prompt import AnoleTokenizer
from zipar_worker.families.anole.vq import VQ_PREFIX, own_image_tokenizer
from zipar_worker.families.description import OpenOptions, directory_name
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.vq.chameleon_files import (
    VQ_VOCABULARY_NAME,
    ImageTokenizer,
    check_code_count,
    find_image_tokenizer,
    open_image_tokenizer,
)

_OFFICIAL_NAME = re.compile(r"Anole-\d+b[\w.-]*", re.IGNORECASE)

CONFIG_NAME = "config.json"
TOKENIZER_NAME = "tokenizer.json"

HF_KEYS = KeyMap(LLAMA_MODEL_KEYS, elsewhere=r"model\.vqmodel\.")
HF_DEFAULTS = LlamaConfig(vocab_size=65536, max_position_embeddings=4096, rms_norm_eps=1e-5)
"""Of transformers' Chameleon, for what a file leaves out."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    keys: KeyMap
    config_path: Path
    config: LlamaConfig
    has_head_norms: bool
    has_output_norms: bool
    has_interleaved_heads: bool
    """As in Meta's layout."""
    tokenizer: AnoleTokenizer
    image_tokenizer: ImageTokenizer | None


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory holds. Reads shapes, not tensors. Raises `checkpoint`."""
    meta = find_meta_model(path)
    files = _read_hub(path, options) if meta is None else _read_meta(path, meta, options)
    if files.tokenizer.greatest_id >= files.config.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{files.tokenizer.path} has tokens up to {files.tokenizer.greatest_id}, but {files.config_path} gives the "
            f"model a vocabulary of {files.config.vocab_size}. They do not belong together.",
        )
    check_llama_claims(files.config_path, files.checkpoint, files.config)
    return files


def find_meta_model(path: Path) -> Path | None:
    """The directory of `params.json` in Meta's layout: the given one, or the first below its `models`.

    That of a Llama has no `consolidate_params.json` beside it, nor a part that is called `model`.
    """
    for directory in (path, *sorted((path / "models").glob("*"))):
        params = directory / META_CONFIG_NAME
        has_sharding = (directory / META_SHARDING_NAME).is_file()
        if params.is_file() and (has_sharding or "model" in (glance_json(params) or {})):
            return directory
    return None


def is_called_anole(path: Path) -> bool:
    """Whether the directory has Anole's name, or lies in one with the official name, as in the hub's cache."""
    return "anole" in path.absolute().name.lower() or any(map(_OFFICIAL_NAME.search, path.absolute().parts))


def has_image_decoder(path: Path) -> bool:
    """Whether weights in transformers' layout hold the decoder of an image tokenizer. A glance, not a check."""
    return any(key.startswith(f"{VQ_PREFIX}decoder.") for key in glance_tensor_names(path))


def _read_meta(path: Path, directory: Path, options: OpenOptions) -> Files:
    if not is_called_anole(path) and "chameleon" in path.absolute().name.lower():
        raise WorkerError(
            "checkpoint", f"{path} is Meta's Chameleon, which was not trained to draw. Expected GAIR/Anole-7b-v0.1."
        )
    config, meta = read_meta_config(directory)
    if not (directory / META_WEIGHTS_NAME).is_file():
        raise WorkerError(
            "checkpoint",
            f"{directory} holds no {META_WEIGHTS_NAME}, the weights that {META_CONFIG_NAME} describes. Download it "
            f"from GAIR/Anole-7b-v0.1.",
        )
    root = directory.parent.parent if directory.parent.name == "models" else directory
    vq_directory = find_image_tokenizer(root, options.vq_path)
    tokenizer = AnoleTokenizer(_find_tokenizer(root, options.text_encoder_path, vq_directory))
    image_tokenizer = _open_image_tokenizer(vq_directory, tokenizer, options)
    checkpoint = open_checkpoint(directory / META_WEIGHTS_NAME, Sought(META_LANDMARKS, key=options.weights_key))
    return Files(
        _name(path),
        checkpoint,
        meta_keys(checkpoint),
        directory / META_CONFIG_NAME,
        config,
        has_head_norms=meta.qk_normalization,
        has_output_norms=meta.swin_norm,
        has_interleaved_heads=True,
        tokenizer=tokenizer,
        image_tokenizer=image_tokenizer,
    )


def _read_hub(path: Path, options: OpenOptions) -> Files:
    config_path = path / CONFIG_NAME
    fields = read_json(config_path)
    config = read_llama_config(config_path, fields, HF_DEFAULTS)
    checkpoint = open_checkpoint(path, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    holds_decoder = any(key.startswith(f"{VQ_PREFIX}decoder.") for key in checkpoint.tensors)
    # What the user names wins over what the checkpoint holds, and that over what lies near it.
    is_own = holds_decoder and options.vq_path is None
    vq_directory = None if is_own else find_image_tokenizer(path, options.vq_path)
    tokenizer = AnoleTokenizer(_find_tokenizer(path, options.text_encoder_path, vq_directory))
    image_tokenizer = (
        own_image_tokenizer(config_path, fields, checkpoint, len(tokenizer.codes))
        if is_own
        else _open_image_tokenizer(vq_directory, tokenizer, options)
    )
    return Files(
        _name(path),
        with_tied_head(config_path, checkpoint, HF_KEYS, config.tie_word_embeddings),
        HF_KEYS,
        config_path,
        config,
        has_head_norms=True,
        has_output_norms=fields.get("swin_norm") is True,
        has_interleaved_heads=False,
        tokenizer=tokenizer,
        image_tokenizer=image_tokenizer,
    )


def _open_image_tokenizer(
    directory: Path | None, tokenizer: AnoleTokenizer, options: OpenOptions
) -> ImageTokenizer | None:
    if directory is None:
        return None
    opened = open_image_tokenizer(directory, options.weights_key)
    check_code_count(directory, opened, tokenizer.path, len(tokenizer.codes))
    return opened


def _find_tokenizer(path: Path, given: Path | None, vq_directory: Path | None) -> Path:
    if given is not None and given.is_file():
        return given
    directories = (given,) if given is not None else (path, path / "tokenizer", vq_directory)
    for directory in filter(None, directories):
        for name in (TOKENIZER_NAME, VQ_VOCABULARY_NAME):
            if (directory / name).is_file():
                return directory / name
    raise WorkerError(
        "checkpoint",
        f"{given or path} holds neither {TOKENIZER_NAME} nor tokenizer/{VQ_VOCABULARY_NAME}. Download it from the "
        f"checkpoint's repository, or give its directory with `--text-encoder DIR`.",
    )


def _name(path: Path) -> str:
    official = next(filter(None, map(_OFFICIAL_NAME.search, reversed(path.absolute().parts))), None)
    return directory_name(path, "Anole") if official is None else official[0]
