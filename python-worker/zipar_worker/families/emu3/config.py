"""What the configuration files of an Emu3 checkpoint say, in the terms of transformers, checked.

Facts: `configuration_emu3.py` and `configuration_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from huggingface_hub.errors import StrictDataclassError
from transformers import Emu3TextConfig, Emu3VQVAEConfig

from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.emu3 import check_config

OFFICIAL_IMAGE_AREA = 720 * 720
"""Pixels. A checkpoint for another area says so as `image_area` in its config.json."""

_TEXT_FIELDS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps"),
    *("rope_theta", "rope_scaling", "rope_parameters"),
)
_VQ_FIELDS = (
    *("codebook_size", "embed_dim", "latent_channels", "double_latent", "in_channels", "out_channels"),
    *("temporal_downsample_factor", "base_channels", "channel_multiplier", "num_res_blocks", "attn_resolutions"),
    "num_attention_heads",
)
_ORIGINAL_VQ_FIELDS = {
    "latent_channels": "z_channels",
    "double_latent": "double_z",
    "base_channels": "ch",
    "channel_multiplier": "ch_mult",
}
"""By what transformers calls them; the others have the same name."""

Config = TypeVar("Config", Emu3TextConfig, Emu3VQVAEConfig)


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a JSON file. Raises `checkpoint` where there are none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as error:
        raise WorkerError(
            "checkpoint",
            f"{path} is missing. Download it from the same repository as the weights, into the same directory.",
        ) from error
    except (msgspec.MsgspecError, OSError) as error:
        raise WorkerError("checkpoint", f"{path} cannot be read as a JSON object: {error}.") from error


def text_config(path: Path, fields: Mapping[str, Any]) -> Emu3TextConfig:
    """From the fields of the original, or of the part `text_config` of the conversion. Raises `checkpoint`."""
    given = {name: fields[name] for name in _TEXT_FIELDS if name in fields}
    if given.get("num_key_value_heads", 1) is None:
        # Every head its own.
        given["num_key_value_heads"] = given.get("num_attention_heads")
    # What the library's own generation would need, and checks against the size of the vocabulary.
    unused = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)
    config = _config(path, Emu3TextConfig, given | unused)
    rope_type = (config.rope_parameters or {}).get("rope_type")
    if rope_type != "default":
        raise unusable(path, f"it scales its positions by {rope_type!r}; expected none, as in Emu3-Gen")
    heads, kv_heads = config.num_attention_heads, kv_head_count(config)
    sizes = (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers, heads, kv_heads)
    if min(sizes) < 1:
        raise unusable(path, "its sizes must be positive")
    if config.hidden_act != "silu":
        raise unusable(path, f"its activation is {config.hidden_act!r}; expected 'silu', as in Emu3-Gen")
    if config.hidden_size % (2 * heads) or heads % kv_heads:
        raise unusable(
            path,
            f"a width of {config.hidden_size} cannot be shared by {heads} heads, {kv_heads} of them with own K and V",
        )
    return config


def kv_head_count(config: Emu3TextConfig) -> int:
    """Heads that have their own K and V."""
    return config.num_key_value_heads or config.num_attention_heads


def original_vq_config(path: Path, fields: Mapping[str, Any]) -> Emu3VQVAEConfig:
    """From the fields of `BAAI/Emu3-VisionTokenizer`. Raises `checkpoint`."""
    return vq_config(
        path,
        {name: fields[own] for name in _VQ_FIELDS if (own := _ORIGINAL_VQ_FIELDS.get(name, name)) in fields},
    )


def vq_config(path: Path, fields: Mapping[str, Any]) -> Emu3VQVAEConfig:
    """From fields named as transformers names them. Raises `checkpoint`."""
    config = _config(path, Emu3VQVAEConfig, {name: fields[name] for name in _VQ_FIELDS if name in fields})
    try:
        check_config(config)
    except ValueError as error:
        raise unusable(path, f"of the image tokenizer, {error}") from error
    # The original does not give it: its attention is as wide as the channels that it works on.
    config.hidden_size = config.base_channels * config.channel_multiplier[-1]
    return config


def image_area(path: Path, fields: Mapping[str, Any]) -> int:
    """Pixels of an image, whatever its shape. Raises `checkpoint`."""
    area = fields.get("image_area", OFFICIAL_IMAGE_AREA)
    if not isinstance(area, int) or not 64 <= area <= 1 << 24:
        raise unusable(path, f"image_area is {area!r}; expected pixels, {OFFICIAL_IMAGE_AREA} in Emu3-Gen")
    return area


def part(path: Path, fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields within a field. Raises `checkpoint`."""
    inner = fields.get(name)
    if not isinstance(inner, dict):
        raise unusable(path, f"it has no {name}, which Emu3-Gen-hf has")
    return inner


def of_another_kind(path: Path, fields: Mapping[str, Any], expected: str) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{path} describes a model of the type {fields.get('model_type')!r}; expected {expected}. Give the directory "
        f"of such a checkpoint.",
    )


def unusable(path: Path, reason: str) -> WorkerError:
    return WorkerError("checkpoint", f"{path} cannot be used: {reason}. Download it again.")


def _config(path: Path, kind: Callable[..., Config], fields: Mapping[str, Any]) -> Config:
    try:
        return kind(**fields)
    except (StrictDataclassError, TypeError, ValueError, KeyError) as error:
        raise unusable(path, str(error)) from error
