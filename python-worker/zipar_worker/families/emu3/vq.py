"""The files of Emu3's image tokenizer: a directory like `BAAI/Emu3-VisionTokenizer`, or part of a converted checkpoint.

Facts: `configuration_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from torch import Tensor

from zipar_worker.checkpoints.key_map import KeyMap, Rules
from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.checkpoints.passed_over import ENCODER
from zipar_worker.checkpoints.small_files import convert_fields, of_another_kind, read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint, check_claims, open_checkpoint
from zipar_worker.families.vq.emu3 import Emu3VQConfig
from zipar_worker.families.vq.llamagen import GROUPS, sought_tokenizer

CONFIG_NAME = "config.json"
VQ_MODEL_TYPE = "Emu3VisionVQ"

VISION_TOKENIZER_NAMES = ("Emu3-VisionTokenizer", "vision_tokenizer")
"""Directories in which the image tokenizer is looked for, within that of the checkpoint and beside it."""

_ORIGINAL_RULES: Rules = (
    (r"(\.time_res_stack\.\d+\.conv\d|^post_quant_conv)\.", r"\1.conv."),
    (r"(\.time_conv\.\d+)\.", r"\1.conv.conv."),
)
ORIGINAL_KEYS = KeyMap(_ORIGINAL_RULES, ENCODER)

_CONVERTED_FIELDS = {"latent_channels": "z_channels", "base_channels": "ch", "channel_multiplier": "ch_mult"}
"""What the original calls them; the others have the same name."""
_CONVERTED_RULES: Rules = (
    *_ORIGINAL_RULES,
    (r"\.mid\.attn_1\.norm\.", ".mid.attn_norm."),
    (r"\.attn\.(\d+)\.norm\.", r".attn_norms.\1."),
    (r"\.(q|k|v)\.(weight|bias)$", r".\1_proj.\2"),
    (r"\.proj_out\.", ".out_proj."),
    (r"\.mid\.", ".middle_block."),
    (r"\.up\.", ".up_block.up."),
)

_KERNEL_FRAMES = 3


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """The opened weights of the image tokenizer and the shape of its decoder; see `adapt_vq_tensor`."""

    config: Emu3VQConfig
    weights: Checkpoint
    keys: KeyMap


def open_image_tokenizer(path: Path, weights_key: str | None) -> ImageTokenizer:
    """path: a directory like `BAAI/Emu3-VisionTokenizer`, or the weights file in one. Raises `checkpoint`."""
    directory = path.parent if path.is_file() else path
    refuse_outside_links(directory)
    config_path = directory / CONFIG_NAME
    fields = read_json(config_path)
    if fields.get("model_type") != VQ_MODEL_TYPE:
        raise of_another_kind(config_path, fields, "Emu3's image tokenizer, BAAI/Emu3-VisionTokenizer")
    weights = open_checkpoint(path, sought_tokenizer(weights_key))
    return ImageTokenizer(_config(config_path, fields, weights), weights, ORIGINAL_KEYS)


def converted_image_tokenizer(
    path: Path, fields: Mapping[str, Any], weights: Checkpoint, prefix: str
) -> ImageTokenizer:
    """The part of a converted checkpoint. fields: its `vq_config`, in the file `path`; prefix: of its keys."""
    renamed = {_CONVERTED_FIELDS.get(name, name): value for name, value in fields.items()}
    return ImageTokenizer(_config(path, renamed, weights), weights, converted_keys(prefix))


def converted_keys(prefix: str) -> KeyMap:
    """Those of transformers' `Emu3VQVAE`, in a file that has `prefix` before them and other things beside."""
    start = re.escape(prefix)
    return KeyMap(
        (*_CONVERTED_RULES, (r"^", prefix)),
        elsewhere=rf"(?!{start})|{start}{ENCODER}",
    )


def image_tokenizer_near(directory: Path) -> Path | None:
    """Its directory, where the official code expects it; None where it is not there."""
    places = (parent / name for parent in (directory, directory.parent) for name in VISION_TOKENIZER_NAMES)
    return next((place for place in places if (place / CONFIG_NAME).is_file()), None)


def adapt_vq_tensor(name: str, stored: Tensor, rows: int) -> Tensor:
    """The last slice of a kernel over frames; a matrix, where the original has a convolution of 1 x 1, as one.

    An `adapt` of `load_module_`: other tensors, and shapes that do not fit, are left as they are for it to judge.
    """
    if stored.dim() == 5 and stored.shape[2] == _KERNEL_FRAMES:
        return stored[:, :, -1]
    is_matrix = stored.dim() == 2 and ".attn" in name
    return stored[:, :, None, None] if is_matrix else stored


def _config(path: Path, fields: Mapping[str, Any], weights: Checkpoint) -> Emu3VQConfig:
    config = convert_fields(path, fields, Emu3VQConfig)
    problem = _contradiction(config)
    if problem is not None:
        raise unusable(path, f"of the image tokenizer, {problem}")
    widths = (config.ch * max(config.ch_mult), config.codebook_size, config.z_channels)
    check_claims(path, weights, parts=len(config.ch_mult) * (config.num_res_blocks + 1), widths=widths)
    return config


def _contradiction(config: Emu3VQConfig) -> str | None:
    """Why a configuration gives no decoder of still images; None where it does."""
    if not config.ch_mult:
        return "it has no resolutions: its channel multipliers are empty"
    if config.ch % GROUPS:
        return f"its channels, {config.ch}, are no multiple of {GROUPS}"
    if config.num_attention_heads != 1:
        return f"its attention has {config.num_attention_heads} heads; expected 1"
    if config.embed_dim != config.z_channels:
        return f"the codes have {config.embed_dim} channels but the latents {config.z_channels}"
    if config.out_channels != 3:
        return f"it makes {config.out_channels} colour channels; expected 3"
    if log2(config.temporal_downsample_factor) % 1:
        return f"its temporal factor {config.temporal_downsample_factor} is no power of 2"
    return None
