"""What a Lumina-mGPT checkpoint is, before its tensors are read.

The language model is a directory in the layout of the Hugging Face hub, without an image tokenizer: that is Meta's, see
`vq/chameleon_files.py`. Facts: Alpha-VLLM/Lumina-mGPT, README.md and `lumina_mgpt/model/chameleon/` (configuration and
modeling).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import read_json
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
from zipar_worker.families.lumina_mgpt.prompt import (
    OFFICIAL_TARGETS,
    PIXELS_PER_SIZE_UNIT,
    PromptTokenizer,
    known_sizes,
)
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.vq.chameleon_files import (
    VQ_VOCABULARY_NAME,
    ImageTokenizer,
    check_code_count,
    check_code_names,
    find_image_tokenizer,
    open_image_tokenizer,
)

CONFIG_NAME = "config.json"
TOKENIZER_NAME = "tokenizer.json"

_OFFICIAL_NAME = re.compile(r"Lumina-mGPT-\d+B-(\d{2,4})(?!\d)(?:-Omni)?", re.IGNORECASE)

KEYS = KeyMap(LLAMA_MODEL_KEYS, elsewhere=r"model\.vqmodel\.")
"""Chameleon's image encoder, which some fine-tunes keep, is passed over."""

DEFAULTS = LlamaConfig(vocab_size=65536, max_position_embeddings=4096, rms_norm_eps=1e-5)
"""Of Chameleon-7B, for what a file leaves out."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read. `target`: see `known_sizes`."""

    name: str
    checkpoint: Checkpoint
    config: LlamaConfig
    has_output_norms: bool
    """`swin_norm` of the configuration, which the 34B models have."""
    target: int
    tokenizer: PromptTokenizer
    image_tokenizer: ImageTokenizer | None


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory holds. Reads shapes, not tensors. Raises `checkpoint`."""
    fields = read_json(path / CONFIG_NAME)
    config = read_llama_config(path / CONFIG_NAME, fields, DEFAULTS)
    target, name = _target(path, options.size)
    vq_directory = find_image_tokenizer(path, options.vq_path)
    tokenizer = PromptTokenizer(_find_text_tokenizer(path, options.text_encoder_path, vq_directory))
    check_vocabulary(path, config, tokenizer, target)
    image_tokenizer = None
    if vq_directory is not None:
        codes = tokenizer.vocabulary.codes
        check_code_names(vq_directory, tokenizer.path, codes)
        image_tokenizer = open_image_tokenizer(vq_directory, options.weights_key)
        check_code_count(vq_directory, image_tokenizer, vq_directory / VQ_VOCABULARY_NAME, len(codes))
    checkpoint = open_checkpoint(path, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    check_llama_claims(path / CONFIG_NAME, checkpoint, config)
    if _is_chameleon(path) and any(key.startswith("model.vqmodel.") for key in checkpoint.tensors):
        raise WorkerError(
            "checkpoint",
            f"{path} is Meta's Chameleon, which has an image encoder (model.vqmodel) and was not trained to draw. "
            f"Expected a Lumina-mGPT, such as Alpha-VLLM/Lumina-mGPT-7B-768.",
        )
    checkpoint = with_tied_head(path / CONFIG_NAME, checkpoint, KEYS, config.tie_word_embeddings)
    return Files(name, checkpoint, config, fields.get("swin_norm") is True, target, tokenizer, image_tokenizer)


def _is_chameleon(path: Path) -> bool:
    """Of files that hold Chameleon's image encoder: whether they are Meta's own.

    Fine-tunes keep it too, so that only the name tells, which a directory of the hub's cache has among its parents.
    """
    *_, repository, _, own = ("", "", *path.absolute().parts)
    named = "chameleon" in own.lower() or repository.lower().startswith("models--facebook--chameleon")
    return named and not any(map(_OFFICIAL_NAME.search, path.absolute().parts))


def _target(path: Path, size: tuple[int, int] | None) -> tuple[int, str]:
    """The side of the square that the checkpoint was trained for, and what to call the checkpoint.

    No file says it, and the official code has to be told: it is in the official name alone, which a directory of the
    hub's cache has among its parents. Where no name says it, the user's size does.
    """
    known = f"{', '.join(map(str, OFFICIAL_TARGETS[:-1]))} or {OFFICIAL_TARGETS[-1]}"
    for part in reversed(path.absolute().parts):
        match = _OFFICIAL_NAME.search(part)
        if match is not None:
            target, name = int(match[1]), match[0]
            if target % PIXELS_PER_SIZE_UNIT:
                raise WorkerError("checkpoint", f"{path}: expected {known} after the B of {name}, received {target}.")
            return target, name
    if size is None:
        raise WorkerError(
            "checkpoint",
            f"{path} does not say for which size it was trained: nothing in a Lumina-mGPT does but its name, such as "
            f"Lumina-mGPT-7B-768. Give {known} with `--size`, or let the directory have the official name.",
        )
    name = f"Lumina-mGPT {path.absolute().name}"
    if size[0] == size[1] and size[0] > 0 and size[0] % PIXELS_PER_SIZE_UNIT == 0:
        return size[0], name
    for target in OFFICIAL_TARGETS:
        if size in known_sizes(target):
            return target, name
    raise WorkerError(
        "checkpoint",
        f"{size[0]} x {size[1]} pixels is a size of no Lumina-mGPT. Those of the 768 checkpoint, for example, are "
        f"{', '.join(f'{width}x{height}' for width, height in known_sizes(768))}.",
    )


def _find_text_tokenizer(path: Path, given: Path | None, vq_directory: Path | None) -> Path:
    """The tokenizer's file. Where a checkpoint has none, Meta's will do: that of Lumina-mGPT is a copy of it."""
    if given is not None and given.is_file():
        return given
    for directory in (given,) if given is not None else (path,):
        if (directory / TOKENIZER_NAME).is_file():
            return directory / TOKENIZER_NAME
    if given is None and vq_directory is not None and (vq_directory / VQ_VOCABULARY_NAME).is_file():
        return vq_directory / VQ_VOCABULARY_NAME
    raise WorkerError(
        "checkpoint",
        f"{given or path} holds no {TOKENIZER_NAME}. Download it from Alpha-VLLM/Lumina-mGPT-7B-768, whose tokenizer "
        f"all sizes share, and give its directory with `--text-encoder DIR`.",
    )


def check_vocabulary(path: Path, config: LlamaConfig, tokenizer: PromptTokenizer, target: int) -> None:
    """Raises `checkpoint` where the tokenizer names tokens that the model lacks, or lacks those of a size."""
    units = {side // PIXELS_PER_SIZE_UNIT for size in known_sizes(target) for side in size}
    unnamed = sorted(units - tokenizer.vocabulary.sizes.keys())
    if unnamed:
        raise WorkerError(
            "checkpoint",
            f"{tokenizer.path} has no tokens for the lengths {', '.join(str(32 * n) for n in unnamed)}, which images "
            f"of a checkpoint for {target} x {target} have. Give the size that the checkpoint was trained for.",
        )
    if tokenizer.largest_id >= config.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{tokenizer.path} has tokens up to {tokenizer.largest_id}, but {path / CONFIG_NAME} gives the model a "
            f"vocabulary of {config.vocab_size}. They do not belong together.",
        )
