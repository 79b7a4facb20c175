"""Chameleon's VQGAN image tokenizer: the decoder half, under the official state-dict keys.

Shapes and keys follow facebookresearch/chameleon, chameleon/inference/vqgan.py, which is CompVis/taming-transformers
reduced to inference. Residual blocks, attention and upsampling are those of LlamaGen's tokenizer, which has the same
ancestor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.families.vq.llamagen import GROUPS, Attention, ResidualBlock, Upsample, norm

__all__ = ["GROUPS", "ChameleonVQConfig", "ChameleonVQDecoder"]


@dataclass(frozen=True)
class ChameleonVQConfig:
    """Sizes of the tokenizer; the defaults are those of Meta's `vqgan.yaml`."""

    codebook_size: int = 8192
    embedding_dim: int = 256
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """From the finest resolution to the coarsest."""
    residual_blocks: int = 2
    """Per resolution in the encoder; the decoder has one more."""
    latent_channels: int = 256
    training_resolution: int = 512
    """Side in pixels of the square that `attention_resolutions` refer to. Images of other sizes decode just as well."""
    attention_resolutions: tuple[int, ...] = ()
    """Sides of the resolutions whose residual blocks are followed by attention; the middle always has one."""

    @property
    def pixels_per_token(self) -> int:
        """Side of the square of pixels that one token stands for: every resolution but the first halves it."""
        return 1 << (len(self.channel_multipliers) - 1)

    def has_attention(self, level: int) -> bool:
        """Of the level-th resolution, the finest being 0."""
        return self.training_resolution >> level in self.attention_resolutions


class ChameleonVQDecoder(ImageDecoder):
    """Codebook, projection and convolutional decoder."""

    def __init__(self, config: ChameleonVQConfig) -> None:
        super().__init__()
        self.pixels_per_token = config.pixels_per_token
        self.quantize = Codebook(config.codebook_size, config.embedding_dim)
        self.post_quant_conv = nn.Conv2d(config.embedding_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def decode(self, codes: Tensor) -> Tensor:
        latents = self.quantize.embedding(codes).permute(0, 3, 1, 2)
        pixels: Tensor = self.decoder(self.post_quant_conv(latents))
        return pixels


class Codebook(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)


class Decoder(nn.Module):
    """Latents: [B, latent channels, H, W] -> pixels: [B, 3, H*f, W*f]."""

    def __init__(self, config: ChameleonVQConfig) -> None:
        super().__init__()
        multipliers = config.channel_multipliers
        width = config.channels * multipliers[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.mid = Middle(width)
        levels = []
        for level in reversed(range(len(multipliers))):
            level_width = config.channels * multipliers[level]
            levels.append(
                Level(width, level_width, config.residual_blocks + 1, config.has_attention(level), doubles=level > 0)
            )
            width = level_width
        # Listed from the finest resolution to the coarsest, run the other way.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.mid(self.conv_in(hidden))
        for level in reversed(self.up):
            hidden = level(hidden)
        return cast(Tensor, self.conv_out(F.silu(self.norm_out(hidden))))


class Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width)
        self.attn_1 = Attention(width)
        self.block_2 = ResidualBlock(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.block_2(self.attn_1(self.block_1(hidden))))


class Level(nn.Module):
    """Residual blocks at one resolution, then the step to the next finer one."""

    def __init__(self, width_in: int, width: int, block_count: int, has_attention: bool, *, doubles: bool) -> None:
        super().__init__()
        widths = [width_in] + [width] * (block_count - 1)
        self.block = nn.ModuleList(ResidualBlock(w, width) for w in widths)
        self.attn = nn.ModuleList(Attention(width) for _ in range(block_count if has_attention else 0))
        self.upsample = Upsample(width) if doubles else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        for k, block in enumerate(self.block):
            hidden = block(hidden)
            if len(self.attn) > 0:
                hidden = self.attn[k](hidden)
        return cast(Tensor, self.upsample(hidden))
