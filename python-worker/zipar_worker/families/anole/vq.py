"""The image tokenizer that a checkpoint in transformers' layout holds itself, under Meta's names behind a prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from zipar_worker.checkpoints.small_files import Count, convert_fields, unusable
from zipar_worker.checkpoints.weights import Checkpoint, check_claims
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig
from zipar_worker.families.vq.chameleon_files import ImageTokenizer

VQ_PREFIX = "model.vqmodel."


def own_image_tokenizer(path: Path, fields: dict[str, Any], weights: Checkpoint, code_count: int) -> ImageTokenizer:
    """path, fields: of the configuration. Raises `checkpoint`."""
    shape = convert_fields(path, fields.get("vq_config", {}), _VqConfig)
    multipliers = shape.channel_multiplier
    if shape.attn_type != "vanilla" or shape.base_channels % GROUPS or shape.resolution % 2 ** (len(multipliers) - 1):
        raise unusable(
            path,
            f"its vq_config describes another decoder than Chameleon's: expected base_channels a multiple of {GROUPS}, "
            f"attn_type vanilla and a resolution of whole tokens; received {shape.base_channels}, {shape.attn_type} "
            f"and {shape.resolution}",
        )
    if shape.num_embeddings != code_count:
        raise unusable(
            path, f"its vq_config has {shape.num_embeddings} codes, but the tokenizer names {code_count} image tokens"
        )
    config = ChameleonVQConfig(
        codebook_size=shape.num_embeddings,
        embedding_dim=shape.embed_dim,
        channels=shape.base_channels,
        channel_multipliers=multipliers,
        residual_blocks=shape.num_res_blocks,
        latent_channels=shape.latent_channels,
        training_resolution=shape.resolution,
        attention_resolutions=shape.attn_resolutions or (),
    )
    own = weights.renamed(lambda key: key.removeprefix(VQ_PREFIX) if key.startswith(VQ_PREFIX) else None)
    widths = (config.channels * max(multipliers), config.embedding_dim, config.latent_channels)
    check_claims(path, own, parts=len(multipliers) * (config.residual_blocks + 1), widths=widths)
    return ImageTokenizer(own, config)


class _VqConfig(Struct):
    """`vq_config` of transformers' Chameleon, with its defaults."""

    embed_dim: Count = 256
    num_embeddings: Count = 8192
    latent_channels: Count = 256
    resolution: Count = 512
    base_channels: Count = 128
    channel_multiplier: tuple[Count, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: Count = 2
    attn_resolutions: tuple[int, ...] | None = None
    attn_type: str = "vanilla"
