"""MoVQGAN as Lumina-mGPT 2.0 uses it: one file without a configuration, whose tensors tell its sizes.

Facts: README.md and `lumina_mgpt/movqgan/` of Alpha-VLLM/Lumina-mGPT-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.passed_over import ENCODER
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.llamagen import sought_tokenizer
from zipar_worker.families.vq.movqgan import MoVQConfig, movq_config_of_tensors

WEIGHTS_NAME = "movqgan_270M.ckpt"

PLACES = (".", "movqgan/270M", "lumina_mgpt/movqgan/270M")
"""Where it is looked for, below the checkpoint's directory and the one above: the others are the official code's."""

KEYS = KeyMap(elsewhere=rf"{ENCODER}|ema_(?:encoder|decoder|quantize|quant_conv|post_quant_conv)\.")
"""The averages over training are the official class's own, which it leaves aside here."""


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """The opened weights of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: MoVQConfig


def open_image_tokenizer(
    path: Path, given: Path | None, code_count: int, weights_key: str | None
) -> ImageTokenizer | None:
    """path: the checkpoint's directory; None where none was given and none lies near it. Raises `checkpoint`."""
    file = _find(path, given)
    if file is None:
        return None
    checkpoint = open_checkpoint(file, sought_tokenizer(weights_key))
    config = movq_config_of_tensors(checkpoint)
    if config.codebook_size != code_count:
        raise WorkerError(
            "checkpoint",
            f"{file} has {config.codebook_size} codes, but the vocabulary of {path} has {code_count}. They do not "
            f"belong together: take {WEIGHTS_NAME} of ai-forever/MoVQGAN.",
        )
    return ImageTokenizer(checkpoint, config)


def _find(path: Path, given: Path | None) -> Path | None:
    if given is not None and not given.is_dir():
        return given
    directories = (given,) if given is not None else (path, path.absolute().parent)
    places = (directory / place / WEIGHTS_NAME for directory in directories for place in PLACES)
    found = next((place for place in places if place.is_file()), None)
    if found is None and given is not None:
        raise WorkerError(
            "checkpoint",
            f"{given} holds no {WEIGHTS_NAME}. Download it from ai-forever/MoVQGAN and give the file with `--vq FILE`.",
        )
    return found
