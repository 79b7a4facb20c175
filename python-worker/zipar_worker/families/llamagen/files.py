"""What a LlamaGen checkpoint is, before its tensors are read: from its sidecar, or from names and shapes.

Facts: `autoregressive/models/gpt.py`, `autoregressive/sample/sample_c2i.py` and `sample_t2i.py`, and
`tokenizer/tokenizer_image/vq_model.py` of FoundationVision/LlamaGen (MIT).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.sidecar import SIDECAR_NAME, file_beside
from zipar_worker.checkpoints.weights import Checkpoint, check_claims, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llamagen.shapes import (
    caption_condition,
    recognise_condition,
    recognise_config,
)
from zipar_worker.families.llamagen.sidecar import decoder_config, read_llamagen_sidecar
from zipar_worker.families.llamagen.text_encoder import OpenedTextEncoder, open_text_encoder
from zipar_worker.families.llamagen.transformer import LANDMARKS, CaptionCondition, ClassCondition, LlamaGenConfig
from zipar_worker.families.vq.llamagen import GROUPS, LlamaGenVQConfig, config_of_tensors, sought_tokenizer
from zipar_worker.wire.protocol import SamplingDefaults

OFFICIAL_CLASS_VQ = ("vq_ds16_c2i", "vq_ds8_c2i")
OFFICIAL_CAPTION_VQ = ("vq_ds16_t2i",)

OFFICIAL_PIXELS_PER_TOKEN = 16
"""Of the image tokenizer that the published transformers were trained with."""

_SUFFIXES = (".pt", ".safetensors")
_OFFICIAL_NAME = re.compile(r"^(?:c2i_(?:B|L|XL|XXL|3B)|t2i_XL_stage[12])_(\d{3,4})\.(?:pt|pth|bin|safetensors)$")
_EXAMPLE_NAMES = "c2i_B_256.pt or t2i_XL_stage1_256.pt"
_CLASS_GUIDANCE_SCALE, _CLASS_TOP_K = 4.0, 2000
_CAPTION_GUIDANCE_SCALE, _CAPTION_TOP_K = 7.5, 1000
_DEFAULT_WINDOW = 8
"""That of ZipAR's own script for LlamaGen (`sample_c2i_ddp_zipar.py`); for captions its paper tries 3 to 15."""


@dataclass(frozen=True, slots=True)
class ImageTokenizer:
    """An opened file of the image tokenizer and the shape of its decoder."""

    checkpoint: Checkpoint
    config: LlamaGenVQConfig


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    config: LlamaGenConfig
    tokenizer: ImageTokenizer | None
    text_encoder: OpenedTextEncoder | None
    """Where the condition is a caption."""
    class_names: tuple[str, ...] | None
    defaults: SamplingDefaults
    remarks: tuple[str, ...] = ()


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory or a weights file holds. Reads shapes, not tensors. Raises `checkpoint`."""
    if (path / SIDECAR_NAME).is_file():
        return _read_with_sidecar(path, options)
    weights = _only_weights_file(path) if path.is_dir() else path
    checkpoint = open_checkpoint(weights, Sought(LANDMARKS, key=options.weights_key))
    condition = recognise_condition(checkpoint)
    tokenizer = _find_tokenizer(weights, checkpoint, condition, options)
    config, name = recognise_config(checkpoint, condition, _grid(weights, checkpoint, options.size, tokenizer))
    _check_rotations(checkpoint, config)
    return _checked(
        Files(
            name=name,
            checkpoint=checkpoint,
            config=config,
            tokenizer=tokenizer,
            text_encoder=_find_text_encoder(weights, condition, options),
            class_names=None,
            defaults=official_defaults(config),
            remarks=_class_remarks(condition),
        )
    )


def _check_rotations(checkpoint: Checkpoint, config: LlamaGenConfig) -> None:
    """Raises `checkpoint` where the file holds the rotations of another grid, so that size or tokenizer is wrong."""
    table = checkpoint.passed_over.get("freqs_cis")
    slots = config.condition.length + config.rows * config.columns
    if table is not None and table.dim() > 0 and table.shape[0] != slots:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} was trained for {table.shape[0]} slots (freqs_cis), but a grid of {config.rows} x "
            f"{config.columns} tokens has {slots}. Give the right size with `--size` or image tokenizer with `--vq`.",
        )


def _class_remarks(condition: ClassCondition | CaptionCondition) -> tuple[str, ...]:
    """Nothing in a table tells whether its last row stands for no class, but a round number makes one doubt it."""
    if not isinstance(condition, ClassCondition) or not condition.has_null_class or (condition.class_count + 1) % 10:
        return ()
    rows = condition.class_count + 1
    return (f"the last of {rows} classes taken for no class; if it is one, say hasNullClass false in {SIDECAR_NAME}",)


def is_official_name(name: str) -> bool:
    return _OFFICIAL_NAME.match(name) is not None


def _read_with_sidecar(directory: Path, options: OpenOptions) -> Files:
    sidecar = read_llamagen_sidecar(directory)
    given = sidecar.config
    weights = file_beside(directory, sidecar.weights)
    checkpoint = open_checkpoint(weights, Sought(LANDMARKS, key=options.weights_key))
    check_claims(
        directory / SIDECAR_NAME,
        checkpoint,
        parts=given.layers,
        widths=(given.dim, given.vocab_size, given.class_count or 0),
    )
    condition = (
        caption_condition(checkpoint)
        if given.class_count is None
        else ClassCondition(given.class_count, has_null_class=given.has_null_class)
    )
    config = LlamaGenConfig(
        dim=given.dim,
        layer_count=given.layers,
        head_count=given.heads,
        kv_head_count=given.kv_heads or given.heads,
        vocabulary_size=given.vocab_size,
        condition=condition,
        rows=given.rows,
        columns=given.columns,
    )
    tokenizer = None
    if options.vq_path is not None:
        tokenizer = _find_tokenizer(weights, checkpoint, condition, options)
    elif sidecar.vq is not None:
        vq_checkpoint = open_checkpoint(
            file_beside(directory, sidecar.vq.weights), sought_tokenizer(options.weights_key)
        )
        tokenizer = ImageTokenizer(vq_checkpoint, decoder_config(sidecar.vq))
        _check_tokenizer(directory / SIDECAR_NAME, tokenizer)
    files = Files(
        name=sidecar.name or f"LlamaGen {directory.resolve().name}",
        checkpoint=checkpoint,
        config=config,
        tokenizer=tokenizer,
        text_encoder=_find_text_encoder(weights, condition, options),
        class_names=sidecar.class_names,
        defaults=sidecar.defaults or official_defaults(config),
    )
    _check_size(directory, files, options.size)
    return _checked(files)


def _check_size(directory: Path, files: Files, size: tuple[int, int] | None) -> None:
    config, tokenizer = files.config, files.tokenizer
    if size is None or tokenizer is None:
        return
    own = (config.columns * tokenizer.config.pixels_per_token, config.rows * tokenizer.config.pixels_per_token)
    if size != own:
        raise WorkerError(
            "checkpoint",
            f"{directory} makes images of {own[0]} x {own[1]} pixels, received the size {size[0]} x {size[1]}. "
            f"Leave the size out.",
        )


def _check_tokenizer(sidecar: Path, tokenizer: ImageTokenizer) -> None:
    config = tokenizer.config
    widest = config.channels * max(config.channel_multipliers)
    parts = len(config.channel_multipliers) * (config.residual_blocks + 1)
    widths = (widest, config.codebook_size, config.embedding_dim, config.latent_channels)
    check_claims(sidecar, tokenizer.checkpoint, parts=parts, widths=widths)
    if config.channels % GROUPS:
        raise WorkerError(
            "checkpoint", f"{sidecar}: expected vq.channels in a multiple of {GROUPS}, received {config.channels}."
        )


def _grid(
    weights: Path, checkpoint: Checkpoint, size: tuple[int, int] | None, tokenizer: ImageTokenizer | None
) -> tuple[int, int]:
    """(rows, columns): from the size that was asked for, else from the official file name or the training program."""
    pixels_per_token = tokenizer.config.pixels_per_token if tokenizer else OFFICIAL_PIXELS_PER_TOKEN
    if size is None:
        match = _OFFICIAL_NAME.match(weights.name)
        side = int(match[1]) if match is not None else checkpoint.training.get("image_size")
        if not isinstance(side, int):
            raise WorkerError(
                "checkpoint",
                f"The image size of {weights} is unknown: it is not in the weights, and the file does not have an "
                f"official name such as {_EXAMPLE_NAMES}. Give it with `--size`, e.g. `--size 256`.",
            )
        size = (side, side)
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
            f"official LlamaGen name such as {_EXAMPLE_NAMES}; found {names}. Give the path of the file itself.",
        )
    return found[0]


def _find_tokenizer(
    weights: Path, checkpoint: Checkpoint, condition: ClassCondition | CaptionCondition, options: OpenOptions
) -> ImageTokenizer | None:
    """The image tokenizer that was given, else the one with an official name, if there is any."""
    given = options.vq_path
    if given is not None and not given.is_dir():
        return _open_tokenizer(given, options)
    stems = OFFICIAL_CAPTION_VQ if isinstance(condition, CaptionCondition) else OFFICIAL_CLASS_VQ
    directory = given or weights.parent
    places = [[directory / (stem + suffix) for suffix in _SUFFIXES] for stem in stems]
    found = [file for files in places for file in [next((file for file in files if file.is_file()), None)] if file]
    if given is not None and not found:
        names = ", ".join(file.name for files in places for file in files)
        raise WorkerError(
            "checkpoint",
            f"The directory {given} holds no image tokenizer of this LlamaGen: expected one of {names}. Give the path "
            f"of the file itself.",
        )
    return _matching(weights, checkpoint, [_open_tokenizer(file, options) for file in found])


def _matching(weights: Path, checkpoint: Checkpoint, found: list[ImageTokenizer]) -> ImageTokenizer | None:
    """Of several image tokenizers, the one that the transformer was trained with. Raises `checkpoint` where none knows.

    A wrong one would go unnoticed: it gives another grid, on which the transformer makes noise.
    """
    if len(found) < 2:
        return found[0] if found else None
    codes, _ = checkpoint.shape("tok_embeddings.weight")
    fitting = [tokenizer for tokenizer in found if tokenizer.config.codebook_size == codes] or found
    trained = checkpoint.training.get("downsample_size")
    if trained is None and is_official_name(weights.name):
        trained = OFFICIAL_PIXELS_PER_TOKEN
    if trained is not None:
        fitting = [tokenizer for tokenizer in fitting if tokenizer.config.pixels_per_token == trained] or fitting
    if len(fitting) > 1:
        described = [f"{it.checkpoint.path.name} ({it.config.pixels_per_token} pixels a token)" for it in fitting]
        raise WorkerError(
            "checkpoint",
            f"{len(fitting)} image tokenizers lie beside {weights}, and nothing says with which it was trained: "
            f"{' and '.join(described)}. The token grid depends on it: name one with `--vq FILE`.",
        )
    return fitting[0]


def _find_text_encoder(
    weights: Path, condition: ClassCondition | CaptionCondition, options: OpenOptions
) -> OpenedTextEncoder | None:
    if isinstance(condition, ClassCondition):
        return None
    return open_text_encoder(weights, options.text_encoder_path)


def _open_tokenizer(path: Path, options: OpenOptions) -> ImageTokenizer:
    checkpoint = open_checkpoint(path, sought_tokenizer(options.weights_key))
    return ImageTokenizer(checkpoint, config_of_tensors(checkpoint))


def _checked(files: Files) -> Files:
    """Raises `checkpoint` where transformer, image tokenizer and text encoder do not belong together."""
    tokenizer, text_encoder, condition = files.tokenizer, files.text_encoder, files.config.condition
    if tokenizer is not None and tokenizer.config.codebook_size != files.config.vocabulary_size:
        raise WorkerError(
            "checkpoint",
            f"{tokenizer.checkpoint.path} has {tokenizer.config.codebook_size} codes, but the transformer "
            f"{files.checkpoint.path} has {files.config.vocabulary_size}. They do not belong together.",
        )
    if (
        text_encoder is not None
        and isinstance(condition, CaptionCondition)
        and text_encoder.feature_dim != condition.feature_dim
    ):
        raise WorkerError(
            "checkpoint",
            f"The text encoder {text_encoder.directory} has features of {text_encoder.feature_dim} numbers, but the "
            f"transformer {files.checkpoint.path} reads {condition.feature_dim}. They do not belong together; the "
            f"published LlamaGen models read those of FLAN-T5-XL (2048).",
        )
    return files


def official_defaults(config: LlamaGenConfig) -> SamplingDefaults:
    if isinstance(config.condition, CaptionCondition):
        guidance_scale, top_k = _CAPTION_GUIDANCE_SCALE, _CAPTION_TOP_K
    else:
        guidance_scale = _CLASS_GUIDANCE_SCALE if config.condition.has_null_class else 1.0
        top_k = _CLASS_TOP_K
    return SamplingDefaults(
        guidance_scale=guidance_scale,
        temperature=1.0,
        top_k=top_k if config.vocabulary_size > top_k else 0,
        top_p=1.0,
        window=min(_DEFAULT_WINDOW, config.columns),
    )
