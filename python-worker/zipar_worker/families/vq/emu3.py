"""The decoder half of Emu3's image tokenizer, for one still image, under the keys of BAAI/Emu3-VisionTokenizer.

The tokenizer compresses video: a code stands for 4 frames of 8 x 8 pixels, and the official decoder turns a still
image into 4 frames, of which the first is kept. Frames mix in causal convolutions only, which come before all the rest,
and before the first frame there are zeros: so the first frame needs the last slice of their kernels alone, and every
convolution here has two dimensions. What the files call them: `emu3/vq.py`. Facts:
`emu3/tokenizer/modeling_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from math import log2
from typing import Annotated, cast

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.small_files import Count
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.families.vq.llamagen import Upsample, norm


class Emu3VQConfig(Struct, frozen=True):
    """The part of the configuration that shapes the decoder, in the words of the original, with its values."""

    codebook_size: Count = 32768
    embed_dim: Count = 4
    z_channels: Count = 4
    out_channels: Count = 3
    temporal_downsample_factor: Count = 4
    ch: Count = 256
    ch_mult: tuple[Count, ...] = (1, 2, 2, 4)
    """From the finest resolution to the coarsest."""
    num_res_blocks: Annotated[int, Meta(ge=0, le=64)] = 2
    """Per resolution in the encoder; the decoder has one more."""
    attn_resolutions: tuple[int, ...] = (3,)
    """Indices of the resolutions whose residual blocks are followed by attention."""
    num_attention_heads: Count = 1


class Emu3VQDecoder(ImageDecoder):
    """Codebook, projection and convolutional decoder. The latents of the codes also steer the decoder's norms."""

    def __init__(self, config: Emu3VQConfig) -> None:
        super().__init__()
        self.pixels_per_token = 1 << (len(config.ch_mult) - 1)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.codebook_size, config.embed_dim)})
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        self.decoder = Decoder(config)

    def decode(self, codes: Tensor) -> Tensor:
        latents = self.quantize["embedding"](codes).permute(0, 3, 1, 2)
        pixels: Tensor = self.decoder(self.post_quant_conv(latents), latents)
        return pixels


class Decoder(nn.Module):
    """hidden, latents: [B, channels, rows, columns] -> pixels: [B, 3, rows*f, columns*f]"""

    def __init__(self, config: Emu3VQConfig) -> None:
        super().__init__()
        channels, levels = config.z_channels, range(len(config.ch_mult))
        temporal_steps = range(int(log2(config.temporal_downsample_factor)))
        self.time_res_stack = nn.ModuleList(TemporalBlock(channels) for _ in range(config.num_res_blocks))
        self.time_conv = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in temporal_steps)
        widths = [config.ch * multiplier for multiplier in config.ch_mult]
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], channels)
        # Listed from the finest resolution to the coarsest, run the other way.
        self.up = nn.ModuleList(
            Level(config, [*widths, widths[-1]][level + 1], widths[level], level) for level in levels
        )
        self.norm_out = SpatialNorm(widths[0], channels)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        both = torch.cat((hidden, latents))
        for block in self.time_res_stack:
            both = block(both)
        for convolution in self.time_conv:
            both = functional.silu(convolution(both))
        hidden, latents = both.chunk(2)
        hidden = self.mid(self.conv_in(hidden), latents)
        for level in reversed(self.up):
            hidden = level(hidden, latents)
        pixels: Tensor = self.conv_out(functional.silu(self.norm_out(hidden, latents)))
        return pixels


class TemporalBlock(nn.Module):
    """A residual block over frames, of which there is one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = FixedBatchNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = FixedBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, states: Tensor) -> Tensor:
        change = self.conv1(functional.silu(self.norm1(states)))
        return states + cast(Tensor, self.conv2(functional.silu(self.norm2(change))))


class FixedBatchNorm(nn.Module):
    """Batch normalisation at inference: its statistics are parameters, loaded, counted and checked like the rest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(width), requires_grad=False)
        self.running_mean = nn.Parameter(torch.empty(width), requires_grad=False)
        self.running_var = nn.Parameter(torch.empty(width), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return functional.batch_norm(states, self.running_mean, self.running_var, self.weight, self.bias)


class SpatialNorm(nn.Module):
    """A group norm whose scale and shift are made of the latents at each place."""

    def __init__(self, width: int, latent_width: int) -> None:
        super().__init__()
        self.norm_layer = norm(width)
        self.conv_y = nn.Conv2d(latent_width, width, 1)
        self.conv_b = nn.Conv2d(latent_width, width, 1)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        here = functional.interpolate(latents, size=hidden.shape[-2:], mode="nearest")
        normed: Tensor = self.norm_layer(hidden) * self.conv_y(here) + self.conv_b(here)
        return normed


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int, latent_width: int) -> None:
        super().__init__()
        self.norm1 = SpatialNorm(width_in, latent_width)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = SpatialNorm(width, latent_width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        change = self.conv1(functional.silu(self.norm1(hidden, latents)))
        change = self.conv2(functional.silu(self.norm2(change, latents)))
        result: Tensor = self.nin_shortcut(hidden) + change
        return result


class Attention(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, width: int, latent_width: int) -> None:
        super().__init__()
        self.norm = SpatialNorm(width, latent_width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        normed = self.norm(hidden, latents)
        q, k, v = (project(normed).flatten(2).transpose(1, 2) for project in (self.q, self.k, self.v))
        attended = functional.scaled_dot_product_attention(q, k, v)  # [B, rows*columns, width]
        change: Tensor = self.proj_out(attended.transpose(1, 2).reshape(hidden.shape))
        return hidden + change


class Middle(nn.Module):
    def __init__(self, width: int, latent_width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width, latent_width)
        self.attn_1 = Attention(width, latent_width)
        self.block_2 = ResidualBlock(width, width, latent_width)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        hidden = self.attn_1(self.block_1(hidden, latents), latents)
        result: Tensor = self.block_2(hidden, latents)
        return result


class Level(nn.Module):
    """Residual blocks at one resolution, then the step to the next finer one."""

    def __init__(self, config: Emu3VQConfig, width_in: int, width: int, level: int) -> None:
        super().__init__()
        widths, latent_width = [width_in] + [width] * config.num_res_blocks, config.embed_dim
        self.block = nn.ModuleList(ResidualBlock(w, width, latent_width) for w in widths)
        attended = widths if level in config.attn_resolutions else []
        self.attn = nn.ModuleList(Attention(width, latent_width) for _ in attended)
        self.upsample = Upsample(width) if level > 0 else nn.Identity()

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        for k, block in enumerate(self.block):
            hidden = block(hidden, latents)
            if len(self.attn) > 0:
                hidden = self.attn[k](hidden, latents)
        result: Tensor = self.upsample(hidden)
        return result
