"""The file of NVIDIA's Cosmos tokenizer, `decoder.jit`, and the sizes that its tensors tell.

It is a TorchScript program, of which the tensors alone are read. The same tensors in a file of `torch.save` or of
safetensors will do as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.model import Stored
from zipar_worker.families.vq.cosmos import (
    COSMOS_KEYS,
    OFFICIAL_LEVELS,
    CosmosConfig,
    CosmosDecoder,
    adapt_cosmos_tensor,
)
from zipar_worker.families.vq.image_decoder import ImageDecoder

REPOSITORY = "nvidia/Cosmos-1.0-Tokenizer-DV8x16x16"
WEIGHTS_NAME = "decoder.jit"
DIRECTORY_NAME = REPOSITORY.partition("/")[2]

_WEIGHTS_NAMES = (WEIGHTS_NAME, "decoder.safetensors", "decoder.pt")
_LANDMARK = "post_quant_conv.conv3d.weight"
_LEVELS = re.compile(r"(?:^|\.)quantizer\._levels$")
_LARGEST_LEVEL = 256
_OTHER_COMPRESSION = re.compile(r"Tokenizer-DV\d+x(?!16x16)\d+x\d+")
"""In the name of a directory. The tensors of the tokenizers that make 8 x 8 pixels of a token have the same shapes."""


@dataclass(frozen=True, slots=True)
class CosmosTokenizer:
    """The opened weights of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: CosmosConfig

    def stored_decoder(self) -> Stored[ImageDecoder]:
        with without_weights():
            decoder = CosmosDecoder(self.config)
        return Stored(decoder, self.checkpoint, COSMOS_KEYS, adapt_cosmos_tensor)


def find_cosmos(path: Path, given: Path | None) -> Path | None:
    """The file of the weights; None where none was given and none lies in the checkpoint's directory or beside it."""
    if given is not None and not given.is_dir():
        return given
    places = (given,) if given is not None else (path, path / DIRECTORY_NAME, path.absolute().parent / DIRECTORY_NAME)
    found = next((place / name for place in places for name in _WEIGHTS_NAMES if (place / name).is_file()), None)
    if found is None and given is not None:
        raise WorkerError(
            "checkpoint",
            f"{given} holds no {WEIGHTS_NAME}. Download it from {REPOSITORY} and give its path or its directory.",
        )
    return found


def open_cosmos(path: Path, weights_key: str | None) -> CosmosTokenizer:
    """Reads shapes, not tensors. Raises `checkpoint`."""
    other = _OTHER_COMPRESSION.search(str(path.absolute()))
    if other is not None:
        raise WorkerError(
            "checkpoint",
            f"{path} is of another Cosmos tokenizer, as the name {other[0]} says; expected DV8x16x16. Download "
            f"{WEIGHTS_NAME} from {REPOSITORY}.",
        )
    checkpoint = open_checkpoint(path, Sought((_LANDMARK,), key=weights_key, accepts_program=True))
    return CosmosTokenizer(checkpoint, _config_of_tensors(checkpoint))


def _config_of_tensors(checkpoint: Checkpoint) -> CosmosConfig:
    def sizes(name: str) -> tuple[int, ...]:
        shape = checkpoint.shape(name)
        if len(shape) != 5 or 0 in shape:
            raise WorkerError(
                "checkpoint",
                f"{checkpoint.path}: expected the tensor {name} in 5 dimensions, as the tokenizers of videos have it, "
                f"received {list(shape)}. Download {WEIGHTS_NAME} from {REPOSITORY}.",
            )
        return shape

    latent_channels, dimensions = sizes(_LANDMARK)[:2]
    colours = sizes("decoder.conv_out.0.conv3d.weight")[0]
    patch_size = round((colours / 3) ** (1 / 3))
    levels = checkpoint.counted(lambda level: f"decoder.up.{level}.block.0.conv1.0.conv3d.weight")
    blocks = checkpoint.counted(lambda block: f"decoder.up.0.block.{block}.conv1.0.conv3d.weight")
    if not levels or colours != 3 * patch_size**3 or patch_size.bit_count() != 1:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} is no decoder of Cosmos' video tokenizer: expected resolutions (decoder.up) and "
            f"wavelets of 3 colours (decoder.conv_out) in cubes of 2, 4 or 8; received {len(levels)} resolutions and "
            f"{colours} channels. Download {WEIGHTS_NAME} from {REPOSITORY}.",
        )
    return CosmosConfig(
        levels=_levels(checkpoint, dimensions),
        latent_channels=latent_channels,
        widths=tuple(sizes(name)[0] for name in levels),
        residual_blocks=len(blocks) - 1,
        attended=tuple(
            level
            for level in range(len(levels))
            if f"decoder.up.{level}.attn.0.0.q.conv3d.weight" in checkpoint.tensors
        ),
        patch_size=patch_size,
    )


def _levels(checkpoint: Checkpoint, dimensions: int) -> tuple[int, ...]:
    """That the file holds; the official ones where it holds none, as files of parameters alone do."""
    stored = next((tensor for name, tensor in checkpoint.tensors.items() if _LEVELS.search(name)), None)
    levels = OFFICIAL_LEVELS if stored is None else tuple(int(level) for level in stored.flatten()[:64])
    if len(levels) != dimensions or not all(2 <= level <= _LARGEST_LEVEL for level in levels) or prod(levels) > 2**24:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path}: its codes have the levels {list(levels)}, but {_LANDMARK} takes {dimensions} "
            f"dimensions; expected {list(OFFICIAL_LEVELS)}, as in {REPOSITORY}. Download {WEIGHTS_NAME} again.",
        )
    return levels
