"""The two layouts in which Janus checkpoints are published, translated into one.

The native one (deepseek-ai/Janus-Pro-1B, -7B) has `pytorch_model.bin`, whole or in shards, under the names of
`janus/models/modeling_vlm.py`. That of transformers (deepseek-community/Janus-Pro-1B, -7B) has safetensors under the
names of `JanusForConditionalGeneration`. Both also hold what understands pictures; it is left on the disk. Its tensors
are known by name, so that any other that has no place in the model is still refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from huggingface_hub.errors import StrictDataclassError
from msgspec import Meta, Struct
from transformers import LlamaConfig

from zipar_worker.errors import WorkerError
from zipar_worker.families.janus.model import JanusConfig

# Pixels, in `generation_inference.py`.
_OFFICIAL_IMAGE_SIZE = 384
_OFFICIAL_PATCH_SIZE = 16

Count = Annotated[int, Meta(ge=1, le=2**24)]


class NativePart(Struct):
    """A part of the native configuration: the name of its class and that class's parameters."""

    cls: str
    params: dict[str, Any]


class NativeConfig(Struct):
    """`config.json` of the native layout, as far as image generation needs it."""

    model_type: Literal["multi_modality"]
    language_config: dict[str, Any]
    vision_config: NativePart
    gen_vision_config: NativePart
    gen_aligner_config: NativePart
    gen_head_config: NativePart


class NativeSizes(Struct):
    """The parameters within those parts."""

    code_count: Count
    code_dim: Count
    projector_type: Literal["mlp_gelu"]
    aligner_depth: Count
    head_width: Count
    image_size: Count


class TransformersVision(Struct):
    image_size: Count = _OFFICIAL_IMAGE_SIZE
    patch_size: Count = _OFFICIAL_PATCH_SIZE
    num_image_tokens: Count = 576


class TransformersVq(Struct):
    embed_dim: Count = 8
    num_embeddings: Count = 16384
    projection_dim: Count = 2048
    num_hidden_layers: Count = 2
    hidden_act: Literal["gelu"] = "gelu"


class TransformersConfig(Struct):
    """`config.json` of transformers' layout, as far as image generation needs it; its defaults are left out there."""

    model_type: Literal["janus"]
    text_config: dict[str, Any]
    vision_config: TransformersVision
    vq_config: TransformersVq


Rules = tuple[tuple[str, str | None], ...]
"""How names are translated: the first pattern that a name begins with is replaced; None says that the tensor belongs
elsewhere. A name that no pattern fits stays as it is, and is refused where it has no place."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the two layouts have in common once they are translated."""

    config: JanusConfig
    side: int
    """Rows and columns of the token grid."""
    patch_size: int
    """Pixels, in both directions, that a code covers."""
    transformer: Rules
    """Names within `JanusTransformer`."""
    image_tokenizer: Rules
    """Names within `LlamaGenVQDecoder`."""


def translate(rules: Rules, name: str) -> str | None:
    for pattern, replacement in rules:
        match = re.match(pattern, name)
        if match:
            return None if replacement is None else match.expand(replacement) + name[match.end() :]
    return name


def read_layout(config_path: Path) -> Layout:
    """Sizes and names, from `config.json`. Raises `checkpoint`."""
    try:
        content = config_path.read_bytes()
        if msgspec.json.decode(content)["model_type"] == "janus":
            layout = _transformers_layout(msgspec.json.decode(content, type=TransformersConfig))
        else:
            layout = _native_layout(msgspec.json.decode(content, type=NativeConfig))
        _check_positions(layout)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise WorkerError(
            "checkpoint",
            f"{config_path} is not the configuration of a Janus or Janus-Pro that makes images: {error}. Download it "
            f"again from the checkpoint's repository. JanusFlow is another kind of model and not supported.",
        ) from error
    return layout


def _check_positions(layout: Layout) -> None:
    position_count, cell_count = layout.config.language.max_position_embeddings, layout.side**2
    if position_count <= cell_count:
        raise ValueError(f"{position_count} positions leave none for a prompt before {cell_count} image tokens")


def _side(image_size: int, patch_size: int) -> int:
    side, rest = divmod(image_size, patch_size)
    if side == 0 or rest != 0:
        raise ValueError(f"an image size of {image_size} is no multiple of the {patch_size} pixels that a code covers")
    return side


def _native_layout(config: NativeConfig) -> Layout:
    aligner, head = config.gen_aligner_config.params, config.gen_head_config.params
    sizes = msgspec.convert(
        {
            "code_count": config.gen_vision_config.params["image_token_size"],
            "code_dim": config.gen_vision_config.params["n_embed"],
            "projector_type": aligner["projector_type"],
            "aligner_depth": aligner.get("depth", 1),
            "head_width": head["image_token_embed"],
            "image_size": config.vision_config.params.get("image_size", _OFFICIAL_IMAGE_SIZE),
        },
        NativeSizes,
    )
    language = LlamaConfig.from_dict(config.language_config)
    return Layout(
        config=JanusConfig(
            language=language,
            code_count=sizes.code_count,
            aligner_widths=(sizes.code_dim, *[language.hidden_size] * sizes.aligner_depth),
            head_widths=(language.hidden_size, sizes.head_width, sizes.code_count),
        ),
        side=_side(sizes.image_size, _OFFICIAL_PATCH_SIZE),
        patch_size=_OFFICIAL_PATCH_SIZE,
        transformer=_NATIVE_TRANSFORMER,
        image_tokenizer=_NATIVE_IMAGE_TOKENIZER,
    )


_NATIVE_TRANSFORMER: Rules = (
    (r"(gen_vision_model|vision_model|aligner|language_model\.lm_head)\.", None),
    # A buffer that old versions of transformers stored.
    (r"language_model\.model\.layers\.\d+\.self_attn\.rotary_emb\.", None),
    (r"language_model\.model\.", "language_model."),
    (r"gen_head\.output_mlp_projector\.", "gen_head.layers.0."),
    (r"gen_head\.vision_head\.", "gen_head.layers.2."),
)

_NATIVE_IMAGE_TOKENIZER: Rules = (
    (r"gen_vision_model\.(encoder\.|quant_conv\.|quantize\.codebook_used$)", None),
    (r"gen_vision_model\.", ""),
    (r"", None),
)


def _transformers_layout(config: TransformersConfig) -> Layout:
    language = LlamaConfig.from_dict(config.text_config)
    vision, vq = config.vision_config, config.vq_config
    side = _side(vision.image_size, vision.patch_size)
    if side * side != vision.num_image_tokens:
        raise ValueError(
            f"vision_config gives {side} x {side} patches, but num_image_tokens is {vision.num_image_tokens}"
        )
    if vq.projection_dim != language.hidden_size:
        raise ValueError(
            f"vq_config.projection_dim is {vq.projection_dim}, but codes enter a transformer of width "
            f"{language.hidden_size} (text_config.hidden_size)"
        )
    return Layout(
        config=JanusConfig(
            language=language,
            code_count=vq.num_embeddings,
            aligner_widths=(vq.embed_dim, *[vq.projection_dim] * vq.num_hidden_layers),
            head_widths=(language.hidden_size, vq.projection_dim, vq.num_embeddings),
        ),
        side=side,
        patch_size=vision.patch_size,
        transformer=_transformers_transformer(vq.num_hidden_layers),
        image_tokenizer=_TRANSFORMERS_IMAGE_TOKENIZER,
    )


def _transformers_transformer(aligner_depth: int) -> Rules:
    hidden = range(aligner_depth - 1)
    return (
        (r"(model\.vision_model|model\.aligner|model\.vqmodel|lm_head)\.", None),
        (r"model\.language_model\.", "language_model."),
        (r"model\.generation_embeddings\.", "gen_embed."),
        (r"model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
        *((rf"model\.generation_aligner\.hidden_layers\.{k}\.", f"gen_aligner.layers.{2 * k + 2}.") for k in hidden),
        (r"model\.generation_head\.proj_out\.", "gen_head.layers.0."),
        (r"model\.generation_head\.vision_head\.", "gen_head.layers.2."),
    )


_TRANSFORMERS_IMAGE_TOKENIZER: Rules = (
    (r"model\.vqmodel\.(encoder|quant_conv)\.", None),
    (r"model\.vqmodel\.decoder\.mid\.block_1\.", "decoder.mid.0."),
    (r"model\.vqmodel\.decoder\.mid\.attn_1\.", "decoder.mid.1."),
    (r"model\.vqmodel\.decoder\.mid\.block_2\.", "decoder.mid.2."),
    (r"model\.vqmodel\.decoder\.up\.(\d+)\.block\.", r"decoder.conv_blocks.\1.res."),
    (r"model\.vqmodel\.decoder\.up\.", "decoder.conv_blocks."),
    (r"model\.vqmodel\.", ""),
    (r"", None),
)
