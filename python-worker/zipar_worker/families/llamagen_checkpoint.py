"""What a LlamaGen checkpoint is, before its tensors are read: from its sidecar, or from names and shapes.

Facts: `autoregressive/models/gpt.py`, `autoregressive/sample/sample_c2i.py` and `tokenizer/tokenizer_image/vq_model.py`
of FoundationVision/LlamaGen (MIT).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from zipar_worker.checkpoint import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.llamagen_model import LlamaGenConfig
from zipar_worker.families.sidecar import SIDECAR_NAME, file_beside, read_sidecar
from zipar_worker.protocol import SamplingDefaults, Side
from zipar_worker.vq.llamagen import LlamaGenVQConfig

OFFICIAL_HEADS = {
    ("B", 768, 12): 12,
    ("L", 1024, 24): 16,
    ("XL", 1280, 36): 20,
    ("XXL", 1536, 48): 24,
    ("3B", 3200, 24): 32,
}
"""Heads by (name, dim, layers): the one figure that the shapes of the tensors do not show."""

OFFICIAL_VQ_NAMES = tuple(f"vq_ds{factor}_c2i{suffix}" for factor in (16, 8) for suffix in (".pt", ".safetensors"))

OFFICIAL_PIXELS_PER_TOKEN = 16
"""Of the image tokenizer that the published transformers were trained with."""

_OFFICIAL_NAME = re.compile(r"^c2i_(?:B|L|XL|XXL|3B)_(\d{3,4})\.(?:pt|pth|bin|safetensors)$")
_DEFAULT_GUIDANCE_SCALE = 4.0
_DEFAULT_TOP_K = 2000
_DEFAULT_WINDOW = 8

Count = Annotated[int, Meta(ge=1, le=2**24)]


class _Strict(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the sidecar."""


class SidecarConfig(_Strict, frozen=True, kw_only=True):
    """The transformer. `kvHeads` is left out where every head has its own K and V."""

    dim: Count
    layers: Count
    heads: Count
    kv_heads: Count | None = None
    vocab_size: Annotated[int, Meta(ge=2, le=2**24)]
    rows: Side
    columns: Side
    conditioning: Literal["class"]
    class_count: Count


class SidecarVq(_Strict, frozen=True, kw_only=True):
    """The image tokenizer. One token covers `2 ** (len(channelMultipliers) - 1)` pixels squared."""

    weights: str
    codebook_size: Count
    embedding_dim: Count
    channels: Count
    channel_multipliers: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=8)]
    residual_blocks: Count
    latent_channels: Count


class Sidecar(_Strict, frozen=True, kw_only=True):
    family: Literal["llamagen"]
    name: str | None = None
    weights: str
    config: SidecarConfig
    class_names: tuple[str, ...] | None = None
    defaults: SamplingDefaults | None = None
    vq: SidecarVq | None = None


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """An opened file of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: LlamaGenVQConfig


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    config: LlamaGenConfig
    tokenizer: ImageTokenizer | None
    class_names: tuple[str, ...] | None
    defaults: SamplingDefaults


def examine(path: Path, *, vq_path: Path | None, size: tuple[int, int] | None) -> Contents:
    """What a directory or a weights file holds. Reads shapes, not tensors. Raises `checkpoint`."""
    if (path / SIDECAR_NAME).is_file():
        return _examine_with_sidecar(path, vq_path, size)
    weights = _only_weights_file(path) if path.is_dir() else path
    checkpoint = open_checkpoint(weights)
    tokenizer = _open_tokenizer(vq_path or _official_vq_beside(weights))
    config, name = _recognise(checkpoint, _grid(weights, size, tokenizer))
    return _checked(Contents(name, checkpoint, config, tokenizer, None, official_defaults(config)))


def is_official_name(name: str) -> bool:
    return _OFFICIAL_NAME.match(name) is not None


def decoder_config(vq: SidecarVq) -> LlamaGenVQConfig:
    return LlamaGenVQConfig(
        codebook_size=vq.codebook_size,
        embedding_dim=vq.embedding_dim,
        channels=vq.channels,
        channel_multipliers=vq.channel_multipliers,
        residual_blocks=vq.residual_blocks,
        latent_channels=vq.latent_channels,
    )


def _examine_with_sidecar(directory: Path, vq_path: Path | None, size: tuple[int, int] | None) -> Contents:
    sidecar = read_sidecar(directory, Sidecar)
    given = sidecar.config
    config = LlamaGenConfig(
        dim=given.dim,
        layer_count=given.layers,
        head_count=given.heads,
        kv_head_count=given.kv_heads or given.heads,
        vocabulary_size=given.vocab_size,
        class_count=given.class_count,
        rows=given.rows,
        columns=given.columns,
    )
    _check_sidecar(directory, sidecar, config)
    tokenizer = None
    if vq_path is not None:
        tokenizer = _open_tokenizer(vq_path)
    elif sidecar.vq is not None:
        weights = open_checkpoint(file_beside(directory, sidecar.vq.weights))
        tokenizer = ImageTokenizer(weights, decoder_config(sidecar.vq))
    contents = Contents(
        name=sidecar.name or f"LlamaGen {directory.resolve().name}",
        checkpoint=open_checkpoint(file_beside(directory, sidecar.weights)),
        config=config,
        tokenizer=tokenizer,
        class_names=sidecar.class_names,
        defaults=sidecar.defaults or official_defaults(config),
    )
    _check_size(directory, contents, size)
    return _checked(contents)


def _check_sidecar(directory: Path, sidecar: Sidecar, config: LlamaGenConfig) -> None:
    problem = None
    if config.dim % config.head_count or config.head_dim % 4:
        problem = f"dim {config.dim} must give each of the {config.head_count} heads a multiple of 4"
    elif config.head_count % config.kv_head_count:
        problem = f"heads {config.head_count} must be a multiple of kvHeads {config.kv_head_count}"
    elif sidecar.class_names is not None and len(sidecar.class_names) != config.class_count:
        problem = f"classNames has {len(sidecar.class_names)} entries for classCount {config.class_count}"
    if problem is not None:
        raise WorkerError("checkpoint", f"{directory / SIDECAR_NAME} contradicts itself: {problem}.")


def _check_size(directory: Path, contents: Contents, size: tuple[int, int] | None) -> None:
    config, tokenizer = contents.config, contents.tokenizer
    if size is None or tokenizer is None:
        return
    own = (config.columns * tokenizer.config.pixels_per_token, config.rows * tokenizer.config.pixels_per_token)
    if size != own:
        raise WorkerError(
            "checkpoint",
            f"{directory} makes images of {own[0]} x {own[1]} pixels, received the size {size[0]} x {size[1]}. "
            f"Leave the size out.",
        )


def _recognise(checkpoint: Checkpoint, grid: tuple[int, int]) -> tuple[LlamaGenConfig, str]:
    """Configuration and name from the shapes of the tensors."""
    if any(name.startswith("cls_embedding.cap_proj.") for name in checkpoint.tensors):
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} is a text-conditional LlamaGen (t2i). Expected a class-conditional one, such as "
            f"c2i_B_256.pt.",
        )
    vocabulary_size, dim = _matrix(checkpoint, "tok_embeddings.weight")
    embedding_count, _ = _matrix(checkpoint, "cls_embedding.embedding_table.weight")
    pattern = re.compile(r"^layers\.(\d+)\.")
    layers = {int(match[1]) for match in map(pattern.match, checkpoint.tensors) if match}
    official = next((key for key in OFFICIAL_HEADS if key[1:] == (dim, len(layers))), None)
    if official is None:
        known = ", ".join(f"{name} ({dim}, {layers})" for name, dim, layers in OFFICIAL_HEADS)
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} has dim {dim} and {len(layers)} layers, which is none of the official (dim, layers): "
            f"{known}. Put the file into a directory with a {SIDECAR_NAME} that gives its configuration.",
        )
    head_count = OFFICIAL_HEADS[official]
    projected, _ = _matrix(checkpoint, "layers.0.attention.wqkv.weight")
    config = LlamaGenConfig(
        dim=dim,
        layer_count=len(layers),
        head_count=head_count,
        kv_head_count=(projected * head_count // dim - head_count) // 2,
        vocabulary_size=vocabulary_size,
        class_count=embedding_count - 1,
        rows=grid[0],
        columns=grid[1],
    )
    return config, f"LlamaGen-{official[0]}"


def _grid(weights: Path, size: tuple[int, int] | None, tokenizer: ImageTokenizer | None) -> tuple[int, int]:
    """(rows, columns): from the size that was asked for, else from the official file name."""
    pixels_per_token = tokenizer.config.pixels_per_token if tokenizer else OFFICIAL_PIXELS_PER_TOKEN
    if size is None:
        match = _OFFICIAL_NAME.match(weights.name)
        if match is None:
            raise WorkerError(
                "checkpoint",
                f"The image size of {weights} is unknown: it is not in the weights, and the file does not have an "
                f"official name such as c2i_B_256.pt. Give it with `--size`, e.g. `--size 256`.",
            )
        size = (int(match[1]), int(match[1]))
    width, height = size
    rows, columns = height // pixels_per_token, width // pixels_per_token
    if rows * pixels_per_token != height or columns * pixels_per_token != width or not rows or not columns:
        raise WorkerError(
            "checkpoint",
            f"The image size must be a positive multiple of {pixels_per_token} pixels in both directions, "
            f"received {width} x {height}.",
        )
    return rows, columns


def _only_weights_file(directory: Path) -> Path:
    found = sorted(file for file in directory.iterdir() if _OFFICIAL_NAME.match(file.name))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise WorkerError(
            "checkpoint",
            f"The directory {directory} has no {SIDECAR_NAME}, so it must hold exactly one weights file with an "
            f"official LlamaGen name such as c2i_B_256.pt; found {names}. Give the path of the file itself.",
        )
    return found[0]


def _official_vq_beside(weights: Path) -> Path | None:
    return next((weights.with_name(name) for name in OFFICIAL_VQ_NAMES if weights.with_name(name).is_file()), None)


def _open_tokenizer(path: Path | None) -> ImageTokenizer | None:
    """Opens an image tokenizer; the shape of its decoder is in its tensors."""
    if path is None:
        return None
    checkpoint = open_checkpoint(path)
    codebook_size, embedding_dim = _matrix(checkpoint, "quantize.embedding.weight")
    channels = checkpoint.shape("decoder.conv_out.weight")[1]
    first_convolution = re.compile(r"^decoder\.conv_blocks\.(\d+)\.res\.0\.conv1\.weight$")
    # The decoder runs from the coarsest level to the finest; multipliers count from the finest.
    widths = {
        int(match[1]): checkpoint.shape(name)[0]
        for name in checkpoint.tensors
        if (match := first_convolution.match(name))
    }
    blocks = {name.split(".")[4] for name in checkpoint.tensors if name.startswith("decoder.conv_blocks.0.res.")}
    config = LlamaGenVQConfig(
        codebook_size=codebook_size,
        embedding_dim=embedding_dim,
        channels=channels,
        channel_multipliers=tuple(widths[level] // channels for level in sorted(widths, reverse=True)),
        residual_blocks=len(blocks) - 1,
        latent_channels=checkpoint.shape("post_quant_conv.weight")[0],
    )
    return ImageTokenizer(checkpoint, config)


def _checked(contents: Contents) -> Contents:
    """Raises `checkpoint` where transformer and image tokenizer do not belong together."""
    tokenizer = contents.tokenizer
    if tokenizer is not None and tokenizer.config.codebook_size != contents.config.vocabulary_size:
        raise WorkerError(
            "checkpoint",
            f"{tokenizer.checkpoint.path} has {tokenizer.config.codebook_size} codes, but the transformer "
            f"{contents.checkpoint.path} has {contents.config.vocabulary_size}. They do not belong together.",
        )
    return contents


def official_defaults(config: LlamaGenConfig) -> SamplingDefaults:
    return SamplingDefaults(
        guidance_scale=_DEFAULT_GUIDANCE_SCALE,
        temperature=1.0,
        top_k=_DEFAULT_TOP_K if config.vocabulary_size > _DEFAULT_TOP_K else 0,
        top_p=1.0,
        window=min(_DEFAULT_WINDOW, config.columns),
    )


def _matrix(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    shape = checkpoint.shape(name)
    if len(shape) != 2:
        raise WorkerError(
            "checkpoint", f"{checkpoint.path}: expected the tensor {name} to be a matrix, received {list(shape)}."
        )
    return shape[0], shape[1]
