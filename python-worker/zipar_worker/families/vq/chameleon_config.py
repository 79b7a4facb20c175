"""Sizes of a Chameleon-like image tokenizer, from the YAML file beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from zipar_worker.checkpoints.small_files import Count, read_small_file
from zipar_worker.checkpoints.weights import Checkpoint, check_claims
from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig

_MAXIMAL_BYTES = 1 << 16
"""Meta's file has 600; its reader is slow."""


def read_vq_config(path: Path, place: Sequence[str], tokenizer: str, remedy: str) -> ChameleonVQConfig:
    """place: the names that lead to the sizes, for example ("model", "params"); tokenizer, remedy: for messages.

    Raises `checkpoint` for what is no such file, and for decoders that are built otherwise.
    """
    import yaml

    try:
        content = yaml.safe_load(read_small_file(path, _MAXIMAL_BYTES))
        for name in place:
            content = msgspec.convert(content, dict[str, object]).get(name)
        params = msgspec.convert(content, _Params)
    except (yaml.YAMLError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WorkerError(
            "checkpoint", f"{path} is no configuration of {tokenizer}: {reason}. Download it again {remedy}."
        ) from error
    shape = params.ddconfig
    if shape.ch % GROUPS or not shape.resamp_with_conv or shape.tanh_out or shape.attn_type != "vanilla":
        raise WorkerError(
            "checkpoint",
            f"{path} describes another decoder than Chameleon's: expected ch a multiple of {GROUPS}, resamp_with_conv, "
            f"no tanh_out and attn_type vanilla; received ch {shape.ch}, resamp_with_conv {shape.resamp_with_conv}, "
            f"tanh_out {shape.tanh_out}, attn_type {shape.attn_type}. Use the image tokenizer of the model.",
        )
    return ChameleonVQConfig(
        codebook_size=params.n_embed,
        embedding_dim=params.embed_dim,
        channels=shape.ch,
        channel_multipliers=shape.ch_mult,
        residual_blocks=shape.num_res_blocks,
        latent_channels=shape.z_channels,
        training_resolution=shape.resolution,
        attention_resolutions=shape.attn_resolutions,
    )


def check_vq_claims(path: Path, checkpoint: Checkpoint, config: ChameleonVQConfig) -> None:
    """path: the file of the configuration. Raises `checkpoint` where the weights are smaller than it says."""
    widths = (config.channels * max(config.channel_multipliers), config.embedding_dim, config.latent_channels)
    parts = len(config.channel_multipliers) * (config.residual_blocks + 1)
    check_claims(path, checkpoint, parts=parts, widths=widths)


class _Shape(msgspec.Struct):
    """`ddconfig`, which builds encoder and decoder alike."""

    z_channels: Count
    resolution: Count
    ch: Count
    ch_mult: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=8)]
    num_res_blocks: Annotated[int, Meta(ge=1, le=64)]
    attn_resolutions: tuple[int, ...]
    resamp_with_conv: bool = True
    tanh_out: bool = False
    attn_type: str = "vanilla"


class _Params(msgspec.Struct):
    embed_dim: Count
    n_embed: Count
    ddconfig: _Shape
