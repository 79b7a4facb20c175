"""The decoder half of NVIDIA's Cosmos tokenizer for video with discrete codes, for one still image.

A video's first frame stands alone, and convolutions over frames see it repeated in place of the frames before it: so
for a still image each kernel over frames is one number, the sum of its three (`adapt_cosmos_tensor`), and every
convolution here has two dimensions. Of the four frames that the inverse wavelet transform gives, the last is the image.

Codes are those of finite scalar quantisation: a code is a number whose digits are the values of a few dimensions, so
that there is no codebook. Facts: `modules/layers3d.py`, `modules/quantizers.py`, `modules/patching.py` and
`networks/configs.py` of NVIDIA/Cosmos-Tokenizer (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.passed_over import ENCODER
from zipar_worker.families.vq.image_decoder import ImageDecoder

OFFICIAL_LEVELS = (8, 8, 8, 5, 5, 5)
_COLOURS = 3
_NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class CosmosConfig:
    """Sizes of the decoder; the defaults are those of `Cosmos-1.0-Tokenizer-DV8x16x16`."""

    levels: tuple[int, ...] = OFFICIAL_LEVELS
    """Values that each dimension of a code takes."""
    latent_channels: int = 16
    widths: tuple[int, ...] = (256, 512, 512)
    """From the finest resolution to the coarsest."""
    residual_blocks: int = 2
    """Per resolution in the encoder; the decoder has one more."""
    attended: tuple[int, ...] = ()
    """Indices of the resolutions whose residual blocks are followed by attention."""
    patch_size: int = 4
    """Side of the square of pixels that the wavelet transform makes of a place."""

    @property
    def code_count(self) -> int:
        return prod(self.levels)

    @property
    def pixels_per_token(self) -> int:
        """Side of a square. Every resolution but the finest doubles it, in tokenizers of 8 frames of 16 x 16."""
        return self.patch_size << (len(self.widths) - 1)


COSMOS_KEYS = KeyMap(
    ((r"\.(weight|bias)$", r".conv3d.\1"), (r"(norm\w*)\.conv3d\.", r"\1.norm.")),
    elsewhere=ENCODER
    + r"|inv_quant\.|quantizer\.|decoder\.unpatcher3d\."
    # Attention over frames, of which there is one, and a step over frames where the number of frames stays.
    + r"|decoder\..*attn\w*(?:\.\d+)?\.1\.[qk]\.conv3d\.|decoder\.up\.\d+\.upsample\.conv1\.conv3d\.",
)


def adapt_cosmos_tensor(name: str, stored: Tensor, rows: int) -> Tensor:
    """For `load_module_`: of a convolution over frames, rows and columns what a still image sees."""
    if stored.dim() != 5:
        return stored
    return stored[:, :, 0] if stored.shape[2] == 1 else stored.sum(2, dtype=torch.float32)


class CosmosDecoder(ImageDecoder):
    def __init__(self, config: CosmosConfig) -> None:
        super().__init__()
        self.pixels_per_token = config.pixels_per_token
        self.levels = config.levels
        self.post_quant_conv = nn.Conv2d(len(config.levels), config.latent_channels, 1)
        self.decoder = Decoder(config)

    def decode(self, codes: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(self.post_quant_conv(self._values(codes)))
        return pixels

    def _values(self, codes: Tensor) -> Tensor:
        """codes: [B, rows, columns] -> [B, dimensions, rows, columns] in [-1, 1]"""
        values = []
        for level in self.levels:
            half = level // 2
            values.append((codes % level - half) / half)
            codes = codes // level
        return torch.stack(values, dim=1).to(self.post_quant_conv.weight.dtype)


class Decoder(nn.Module):
    """latents: [B, channels, rows, columns] -> pixels: [B, 3, rows*f, columns*f]"""

    def __init__(self, config: CosmosConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = factorized(config.latent_channels, widths[-1])
        self.mid = Middle(widths[-1])
        # Listed from the finest resolution to the coarsest, run the other way.
        self.up = nn.ModuleList(
            Level(config, [*widths, widths[-1]][level + 1], width, level) for level, width in enumerate(widths)
        )
        self.norm_out = norm(widths[0])
        self.conv_out = factorized(widths[0], _COLOURS * config.patch_size**3)
        self.patch_size = config.patch_size

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            hidden = level(hidden)
        return last_frame(self.conv_out(functional.silu(self.norm_out(hidden))), self.patch_size)


def last_frame(wavelets: Tensor, patch_size: int) -> Tensor:
    """Of the inverse Haar transform over frames, rows and columns, the last frame.

    wavelets: [B, colours * patch_size^3, rows, columns] -> [B, colours, rows*patch_size, columns*patch_size]
    """
    while patch_size > 1:
        # Sums and differences: of two frames, within each of two rows, within each of two columns.
        earlier, later = wavelets.chunk(2, dim=1)
        batch, channels, rows, columns = earlier.shape
        parts = (earlier - later).view(batch, 2, 2, channels // 4, rows, columns)
        parts = torch.stack((parts[:, 0] + parts[:, 1], parts[:, 0] - parts[:, 1]), dim=4)
        parts = torch.stack((parts[:, 0] + parts[:, 1], parts[:, 0] - parts[:, 1]), dim=5)
        wavelets = parts.reshape(batch, channels // 4, 2 * rows, 2 * columns)
        patch_size //= 2
    return wavelets


def factorized(width_in: int, width: int) -> nn.Sequential:
    """A convolution over rows and columns, then one over frames."""
    return nn.Sequential(nn.Conv2d(width_in, width, 3, padding=1), nn.Conv2d(width, width, 1))


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, width, eps=_NORM_EPSILON)


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.norm1 = norm(width_in)
        self.conv1 = factorized(width_in, width)
        self.norm2 = norm(width)
        self.conv2 = factorized(width, width)
        self.nin_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        change = self.conv1(functional.silu(self.norm1(hidden)))
        change = self.conv2(functional.silu(self.norm2(change)))
        result: Tensor = self.nin_shortcut(hidden) + change
        return result


class Attention(nn.Module):
    """Single-head self-attention over all places of a frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden)
        q, k, v = (project(normed).flatten(2).transpose(1, 2) for project in (self.q, self.k, self.v))
        attended = functional.scaled_dot_product_attention(q, k, v)  # [B, rows*columns, width]
        change: Tensor = self.proj_out(attended.transpose(1, 2).reshape(hidden.shape))
        return hidden + change


class FrameAttention(nn.Module):
    """Attention over frames, of which there is one: it sees itself alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.v, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        change: Tensor = self.proj_out(self.v(self.norm(hidden)))
        return hidden + change


def attention(width: int) -> nn.Sequential:
    return nn.Sequential(Attention(width), FrameAttention(width))


class Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width)
        self.attn_1 = attention(width)
        self.block_2 = ResidualBlock(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.block_2(self.attn_1(self.block_1(hidden)))
        return result


class Level(nn.Module):
    """Residual blocks at one resolution, then the step to the next finer one."""

    def __init__(self, config: CosmosConfig, width_in: int, width: int, level: int) -> None:
        super().__init__()
        widths = [width_in] + [width] * config.residual_blocks
        self.block = nn.ModuleList(ResidualBlock(width_in, width) for width_in in widths)
        attended = widths if level in config.attended else []
        self.attn = nn.ModuleList(attention(width) for _ in attended)
        # Frames are doubled once, behind the coarsest resolution but one.
        doubles_frames = level == len(config.widths) - 2
        self.upsample = Upsample(width, doubles_frames) if level > 0 else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        for k, block in enumerate(self.block):
            hidden = block(hidden)
            if len(self.attn) > 0:
                hidden = self.attn[k](hidden)
        result: Tensor = self.upsample(hidden)
        return result


class Upsample(nn.Module):
    def __init__(self, width: int, doubles_frames: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1) if doubles_frames else None
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.conv1 is not None:
            hidden = self.conv1(hidden) + hidden
        hidden = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
        result: Tensor = self.conv3(self.conv2(hidden) + hidden)
        return result
