"""The configuration of a Janus checkpoint, in either of the two layouts in which they are published.

The native one (deepseek-ai/Janus-Pro-1B, -7B) has `pytorch_model.bin`, whole or in shards, under the names of
`janus/models/modeling_vlm.py`. That of transformers (deepseek-community/Janus-Pro-1B, -7B) has safetensors under the
names of `JanusForConditionalGeneration`. Both also hold what understands pictures; it is left on the disk. Its tensors
are known by name, so that any other that has no place in the model is still refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from zipar_worker.checkpoints.key_map import KeyMap, Rules
from zipar_worker.checkpoints.passed_over import ENCODER
from zipar_worker.checkpoints.small_files import Count, read_json
from zipar_worker.errors import WorkerError
from zipar_worker.families.decoder import LLAMA_KEYS
from zipar_worker.families.llama_config import LlamaConfig, read_llama_config

LANDMARKS = ("gen_embed.weight", "model.generation_embeddings.weight")
"""Of the weights in either layout; see `Sought`."""

MODEL_TYPES = ("multi_modality", "janus")
"""Of the native layout (deepseek-ai/Janus-Pro-1B) and of that of transformers (deepseek-community/Janus-Pro-1B)."""

# Pixels, in `generation_inference.py`.
_OFFICIAL_IMAGE_SIZE = 384
_OFFICIAL_PATCH_SIZE = 16

Depth: TypeAlias = Annotated[int, Meta(ge=1, le=64)]
"""Of a perceptron."""

_DEFAULTS = LlamaConfig()
"""Of transformers' Llama: the published files leave out whatever is the same."""


@dataclass(frozen=True, slots=True)
class JanusConfig:
    """Sizes, and what the files call the tensors. The sizes of a perceptron are its widths from input to output."""

    language: LlamaConfig
    code_count: int
    aligner_widths: tuple[int, ...]
    head_widths: tuple[int, ...]
    side: int
    """Rows and columns of the token grid."""
    patch_size: int
    """Pixels, in both directions, that a code covers."""
    keys: KeyMap
    """Of `JanusTransformer`."""
    image_tokenizer_keys: KeyMap
    """Of `LlamaGenVQDecoder`."""

    @property
    def code_dim(self) -> int:
        """Length of the vector by which a code enters."""
        return self.aligner_widths[0]


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
    aligner_depth: Depth
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
    num_hidden_layers: Depth = 2
    hidden_act: Literal["gelu"] = "gelu"


class TransformersConfig(Struct):
    """`config.json` of transformers' layout, as far as image generation needs it; its defaults are left out there."""

    model_type: Literal["janus"]
    text_config: dict[str, Any]
    vision_config: TransformersVision
    vq_config: TransformersVq


def read_config(path: Path) -> JanusConfig:
    """Sizes and names, from `config.json`. Raises `checkpoint`."""
    try:
        fields = read_json(path)
        if fields.get("model_type") == "janus":
            config = _of_transformers(path, msgspec.convert(fields, TransformersConfig))
        else:
            config = _native(path, msgspec.convert(fields, NativeConfig))
        _check_positions(config)
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerError(
            "checkpoint",
            f"{path} is not the configuration of a Janus or Janus-Pro that makes images: {error}. Download it again "
            f"from the checkpoint's repository. JanusFlow is another kind of model and not supported.",
        ) from error
    return config


def _check_positions(config: JanusConfig) -> None:
    position_count, cell_count = config.language.max_position_embeddings, config.side**2
    if position_count <= cell_count:
        raise ValueError(f"{position_count} positions leave none for a prompt before {cell_count} image tokens")


def _side(image_size: int, patch_size: int) -> int:
    side, rest = divmod(image_size, patch_size)
    if side == 0 or rest != 0:
        raise ValueError(f"an image size of {image_size} is no multiple of the {patch_size} pixels that a code covers")
    return side


def _native(path: Path, config: NativeConfig) -> JanusConfig:
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
    language = read_llama_config(path, config.language_config, _DEFAULTS)
    return JanusConfig(
        language=language,
        code_count=sizes.code_count,
        aligner_widths=(sizes.code_dim, *[language.hidden_size] * sizes.aligner_depth),
        head_widths=(language.hidden_size, sizes.head_width, sizes.code_count),
        side=_side(sizes.image_size, _OFFICIAL_PATCH_SIZE),
        patch_size=_OFFICIAL_PATCH_SIZE,
        keys=NATIVE_KEYS,
        image_tokenizer_keys=NATIVE_IMAGE_TOKENIZER_KEYS,
    )


NATIVE_KEYS = KeyMap(
    (
        (r"^embedding\.", "language_model.model.embed_tokens."),
        (r"^decoder\.", "language_model.model."),
        (r"^gen_head\.layers\.0\.", "gen_head.output_mlp_projector."),
        (r"^gen_head\.layers\.2\.", "gen_head.vision_head."),
        *LLAMA_KEYS,
    ),
    elsewhere=r"(gen_vision_model|vision_model|aligner|language_model\.lm_head)\.",
)

NATIVE_IMAGE_TOKENIZER_KEYS = KeyMap(
    ((r"^", "gen_vision_model."),),
    elsewhere=rf"(?!gen_vision_model\.)|gen_vision_model\.{ENCODER}",
)


def _of_transformers(path: Path, config: TransformersConfig) -> JanusConfig:
    language = read_llama_config(path, config.text_config, _DEFAULTS)
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
    return JanusConfig(
        language=language,
        code_count=vq.num_embeddings,
        aligner_widths=(vq.embed_dim, *[vq.projection_dim] * vq.num_hidden_layers),
        head_widths=(language.hidden_size, vq.projection_dim, vq.num_embeddings),
        side=side,
        patch_size=vision.patch_size,
        keys=_transformers_keys(vq.num_hidden_layers),
        image_tokenizer_keys=_TRANSFORMERS_IMAGE_TOKENIZER_KEYS,
    )


def _transformers_keys(aligner_depth: int) -> KeyMap:
    hidden: Rules = tuple(
        (rf"^gen_aligner\.layers\.{2 * k + 2}\.", f"model.generation_aligner.hidden_layers.{k}.")
        for k in range(aligner_depth - 1)
    )
    return KeyMap(
        (
            (r"^embedding\.", "model.language_model.embed_tokens."),
            (r"^decoder\.", "model.language_model."),
            (r"^gen_embed\.", "model.generation_embeddings."),
            (r"^gen_aligner\.layers\.0\.", "model.generation_aligner.fc1."),
            *hidden,
            (r"^gen_head\.layers\.0\.", "model.generation_head.proj_out."),
            (r"^gen_head\.layers\.2\.", "model.generation_head.vision_head."),
            *LLAMA_KEYS,
        ),
        elsewhere=r"(model\.vision_model|model\.aligner|model\.vqmodel|lm_head)\.",
    )


_TRANSFORMERS_IMAGE_TOKENIZER_KEYS = KeyMap(
    (
        (r"\.mid\.0\.", ".mid.block_1."),
        (r"\.mid\.1\.", ".mid.attn_1."),
        (r"\.mid\.2\.", ".mid.block_2."),
        (r"\.conv_blocks\.(\d+)\.res\.", r".up.\1.block."),
        (r"\.conv_blocks\.", ".up."),
        (r"^", "model.vqmodel."),
    ),
    elsewhere=rf"(?!model\.vqmodel\.)|model\.vqmodel\.{ENCODER}",
)
