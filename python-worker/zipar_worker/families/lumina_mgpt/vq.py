"""Meta's image tokenizer as Lumina-mGPT uses it: three files of the Chameleon release, side by side.

`vqgan.yaml` and `vqgan.ckpt` are configuration and weights; `text_tokenizer.json` names the image tokens by their
codes. Facts: `chameleon/inference/image_tokenizer.py`, `vqgan.py` and `vocab.py` of facebookresearch/chameleon.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.lumina_mgpt.prompt import code_ids, read_tokenizer_file
from zipar_worker.families.vq.chameleon import ChameleonVQConfig
from zipar_worker.families.vq.chameleon_config import check_vq_claims, read_vq_config
from zipar_worker.families.vq.llamagen import sought_tokenizer

VQ_CONFIG_NAME = "vqgan.yaml"
VQ_WEIGHTS_NAME = "vqgan.ckpt"
VQ_VOCABULARY_NAME = "text_tokenizer.json"

VQ_PLACES = (".", "tokenizer", "chameleon/tokenizer", "ckpts/chameleon/tokenizer")
"""Where the image tokenizer is looked for, below the directory that was given, the checkpoint's own and the one above:
the last is where the official code has it, `tokenizer` where Meta's download puts it."""


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """The opened weights of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: ChameleonVQConfig


def find_image_tokenizer(path: Path, given: Path | None) -> Path | None:
    """The directory that holds `vqgan.ckpt`; None where none was given and none lies near the checkpoint."""
    if given is not None and given.is_file():
        return given.parent
    for directory in (given,) if given is not None else (path, path.absolute().parent):
        for place in VQ_PLACES:
            if (directory / place / VQ_WEIGHTS_NAME).is_file():
                return directory / place
    if given is not None:
        raise WorkerError(
            "checkpoint",
            f"{given} holds no {VQ_WEIGHTS_NAME}. Give the directory of Chameleon's image tokenizer with "
            f"{VQ_CONFIG_NAME}, {VQ_WEIGHTS_NAME} and {VQ_VOCABULARY_NAME} from Meta.",
        )
    return None


def open_image_tokenizer(
    directory: Path, text_tokenizer: Path, text_codes: tuple[int, ...], weights_key: str | None
) -> ImageTokenizer:
    """Reads shapes, not tensors. text_tokenizer, text_codes: the checkpoint's own. Raises `checkpoint`."""
    for name in (VQ_CONFIG_NAME, VQ_VOCABULARY_NAME):
        if not (directory / name).is_file():
            raise WorkerError(
                "checkpoint",
                f"{directory} lacks {name}. Meta's image tokenizer is three files: {VQ_CONFIG_NAME}, "
                f"{VQ_WEIGHTS_NAME} and {VQ_VOCABULARY_NAME}; put them side by side.",
            )
    config = read_vq_config(
        directory / VQ_CONFIG_NAME,
        ("model", "params"),
        "Chameleon's image tokenizer",
        f"from Meta, together with {VQ_WEIGHTS_NAME}",
    )
    vocabulary_path = directory / VQ_VOCABULARY_NAME
    codes = code_ids(vocabulary_path, read_tokenizer_file(vocabulary_path)["model"]["vocab"])
    if codes != text_codes:
        raise WorkerError(
            "checkpoint",
            f"{vocabulary_path} numbers its {len(codes)} image tokens differently from the {len(text_codes)} of "
            f"{text_tokenizer}. They do not belong together.",
        )
    if config.codebook_size != len(codes):
        raise WorkerError(
            "checkpoint",
            f"{directory / VQ_CONFIG_NAME} has {config.codebook_size} codes, but {vocabulary_path} names "
            f"{len(codes)} image tokens. They do not belong together.",
        )
    checkpoint = open_checkpoint(directory / VQ_WEIGHTS_NAME, sought_tokenizer(weights_key))
    check_vq_claims(directory / VQ_CONFIG_NAME, checkpoint, config)
    return ImageTokenizer(checkpoint, config)
