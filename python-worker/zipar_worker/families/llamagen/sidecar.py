"""`zipar.json` of a LlamaGen checkpoint: what its weights do not show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from zipar_worker.checkpoints.sidecar import SIDECAR_NAME, read_sidecar
from zipar_worker.checkpoints.small_files import Count
from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig
from zipar_worker.wire.protocol import SamplingDefaults, Side

Name = Annotated[str, Meta(min_length=1, max_length=200)]

_MAXIMAL_ROTATIONS = 1 << 26
"""Numbers in the table of a grid's rotations; an official one has 32 * 32 * 64."""


class _Strict(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the sidecar."""


class SidecarConfig(_Strict, frozen=True, kw_only=True):
    """The transformer. `kvHeads` is left out where every head has its own K and V.

    `classCount` is given where the conditioning is a class; the sizes of captions are in the weights. `hasNullClass` is
    false for a model that was trained without dropping classes: its table has no row for no class, and it no guidance.
    """

    dim: Count
    layers: Count
    heads: Count
    kv_heads: Count | None = None
    vocab_size: Annotated[int, Meta(ge=2, le=2**24)]
    rows: Side
    columns: Side
    conditioning: Literal["class", "text"]
    class_count: Count | None = None
    has_null_class: bool = True


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
    """A LlamaGen whose sizes are none of the official ones. A text encoder lies beside the weights, as theirs does."""

    family: Literal["llamagen"]
    name: Name | None = None
    weights: str
    config: SidecarConfig
    class_names: tuple[Name, ...] | None = None
    defaults: SamplingDefaults | None = None
    vq: SidecarVq | None = None


def read_llamagen_sidecar(directory: Path) -> Sidecar:
    """Raises `checkpoint` for a sidecar of another form, or one that contradicts itself."""
    sidecar = read_sidecar(directory, Sidecar)
    problem = _contradiction(sidecar)
    if problem is not None:
        raise WorkerError("checkpoint", f"{directory / SIDECAR_NAME} contradicts itself: {problem}.")
    return sidecar


def decoder_config(vq: SidecarVq) -> LlamaGenVQConfig:
    return LlamaGenVQConfig(
        codebook_size=vq.codebook_size,
        embedding_dim=vq.embedding_dim,
        channels=vq.channels,
        channel_multipliers=vq.channel_multipliers,
        residual_blocks=vq.residual_blocks,
        latent_channels=vq.latent_channels,
    )


def _contradiction(sidecar: Sidecar) -> str | None:
    given = sidecar.config
    if given.dim % given.heads or given.dim // given.heads % 4:
        return f"dim {given.dim} must give each of the {given.heads} heads a multiple of 4"
    if given.rows * given.columns * (given.dim // given.heads) > _MAXIMAL_ROTATIONS:
        return f"a grid of {given.rows} x {given.columns} with heads of {given.dim // given.heads} numbers is too large"
    if given.heads % (given.kv_heads or given.heads):
        return f"heads {given.heads} must be a multiple of kvHeads {given.kv_heads}"
    if (given.class_count is None) != (given.conditioning == "text"):
        wants = "no" if given.conditioning == "text" else "a"
        return f"the conditioning {given.conditioning!r} needs {wants} classCount"
    if not given.has_null_class and sidecar.defaults is not None and sidecar.defaults.guidance_scale != 1:
        return f"guidanceScale is {sidecar.defaults.guidance_scale}, but without a null class it can only be 1"
    if sidecar.class_names is not None and len(sidecar.class_names) != given.class_count:
        return f"classNames has {len(sidecar.class_names)} entries for classCount {given.class_count}"
    return None
