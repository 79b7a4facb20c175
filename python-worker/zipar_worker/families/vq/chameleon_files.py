"""Meta's image tokenizer: the files of the Chameleon release, side by side.

`vqgan.yaml` and `vqgan.ckpt` are configuration and weights; `text_tokenizer.json` names the image tokens by their
codes, for the models whose text tokenizer does. Facts: `chameleon/inference/image_tokenizer.py`, `vqgan.py` and
`vocab.py` of facebookresearch/chameleon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.small_files import unusable
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.model import Stored, pixel_grid
from zipar_worker.families.plain_text import read_tokenizer_file
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_config import check_vq_claims, read_vq_config
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.families.vq.llamagen import DECODER_KEYS, sought_tokenizer
from zipar_worker.wire.protocol import Grid

CODE_NAME = re.compile(r"^IMGIMG([A-J]+)Z$")
"""Of an image token, in letters for digits."""

VQ_CONFIG_NAME = "vqgan.yaml"
VQ_WEIGHTS_NAME = "vqgan.ckpt"
VQ_VOCABULARY_NAME = "text_tokenizer.json"

_DIGIT_OF_LETTER = str.maketrans("ABCDEFGHIJ", "0123456789")

_MAXIMAL_SIDE = 4096
"""Of an image, in pixels."""

VQ_PLACES = (".", "tokenizer", "chameleon", "chameleon/tokenizer", "ckpts/chameleon/tokenizer")
"""Where the image tokenizer is looked for, below the directory that was given, the checkpoint's own and the one above:
the last is where the official code has it, `tokenizer` where Meta's download puts it."""


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """The opened weights of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: ChameleonVQConfig


def stored_decoder(tokenizer: ImageTokenizer | None) -> Stored[ImageDecoder] | None:
    """What turns codes into pixels, not loaded yet; None without an image tokenizer."""
    if tokenizer is None:
        return None
    with without_weights():
        decoder = ChameleonVQDecoder(tokenizer.config)
    return Stored(decoder, tokenizer.checkpoint, DECODER_KEYS)


def square_grid(tokenizer: ImageTokenizer | None) -> Grid:
    """That of the image tokenizer's training, which Chameleon and its kin draw; of Meta's where there is none."""
    config = ChameleonVQConfig() if tokenizer is None else tokenizer.config
    side = config.training_resolution // config.pixels_per_token
    return pixel_grid(side, side, config.pixels_per_token)


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


def open_image_tokenizer(directory: Path, weights_key: str | None) -> ImageTokenizer:
    """Reads shapes, not tensors. Raises `checkpoint`."""
    if not (directory / VQ_CONFIG_NAME).is_file():
        raise WorkerError(
            "checkpoint",
            f"{directory} lacks {VQ_CONFIG_NAME}. Meta's image tokenizer is three files: {VQ_CONFIG_NAME}, "
            f"{VQ_WEIGHTS_NAME} and {VQ_VOCABULARY_NAME}; put them side by side.",
        )
    config = read_vq_config(
        directory / VQ_CONFIG_NAME,
        ("model", "params"),
        "Chameleon's image tokenizer",
        f"from Meta, together with {VQ_WEIGHTS_NAME}",
    )
    resolution, pixels = config.training_resolution, config.pixels_per_token
    if resolution % pixels or resolution > _MAXIMAL_SIDE:
        raise unusable(
            directory / VQ_CONFIG_NAME,
            f"its resolution of {resolution} pixels is no whole number of tokens of {pixels} pixels (ch_mult), at most "
            f"{_MAXIMAL_SIDE} in all",
        )
    checkpoint = open_checkpoint(directory / VQ_WEIGHTS_NAME, sought_tokenizer(weights_key))
    check_vq_claims(directory / VQ_CONFIG_NAME, checkpoint, config)
    return ImageTokenizer(checkpoint, config)


def check_code_count(directory: Path, tokenizer: ImageTokenizer, named: Path, count: int) -> None:
    """named: the file that says how many codes the model knows. Raises `checkpoint` where the tokenizer has others."""
    if tokenizer.config.codebook_size != count:
        raise WorkerError(
            "checkpoint",
            f"{directory / VQ_CONFIG_NAME} has {tokenizer.config.codebook_size} codes, but {named} names {count} image "
            f"tokens. They do not belong together.",
        )


def check_code_names(directory: Path, text_tokenizer: Path, text_codes: tuple[int, ...]) -> None:
    """text_tokenizer, text_codes: the model's own. Raises `checkpoint` where Meta's vocabulary names other tokens."""
    path = directory / VQ_VOCABULARY_NAME
    if not path.is_file():
        raise WorkerError(
            "checkpoint",
            f"{directory} lacks {VQ_VOCABULARY_NAME}. Meta's image tokenizer is three files: {VQ_CONFIG_NAME}, "
            f"{VQ_WEIGHTS_NAME} and {VQ_VOCABULARY_NAME}; put them side by side.",
        )
    codes = code_ids(path, read_tokenizer_file(path)["model"]["vocab"])
    if codes != text_codes:
        raise WorkerError(
            "checkpoint",
            f"{path} numbers its {len(codes)} image tokens differently from the {len(text_codes)} of "
            f"{text_tokenizer}. They do not belong together.",
        )


def code_ids(path: Path, names: Mapping[str, int]) -> tuple[int, ...]:
    """The id of each code, by the names of the image tokens: `IMGIMGBCZ` is code 12. Raises `checkpoint`."""
    ids = {int(match[1].translate(_DIGIT_OF_LETTER)): names[name] for name in names if (match := CODE_NAME.match(name))}
    if not ids or sorted(ids) != list(range(len(ids))):
        raise WorkerError(
            "checkpoint",
            f"{path} is not Chameleon's vocabulary: expected image tokens named IMGIMGAZ (code 0), IMGIMGBZ (code 1) "
            f"and so on without a gap, found {len(ids)} such names.",
        )
    return tuple(ids[code] for code in range(len(ids)))
