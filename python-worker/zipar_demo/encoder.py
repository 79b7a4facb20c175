"""The encoder half of LlamaGen's VQ tokenizer, under the official keys: only training needs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder, Resolution, middle, norm


class Tokenizer(LlamaGenVQDecoder):
    """Pixels to tokens and back."""

    def __init__(self, config: LlamaGenVQConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.latent_channels, config.embedding_dim, 1)

    def embed(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, H*f, W*f] in [-1, 1] -> unit vectors before quantisation: [B, H, W, embedding_dim]."""
        return F.normalize(self.quant_conv(self.encoder(pixels)).float().permute(0, 2, 3, 1), dim=-1)

    def nearest(self, embeddings: Tensor) -> Tensor:
        """embeddings: [..., embedding_dim] -> index of the nearest code: [...]."""
        with torch.autocast("cpu", enabled=False):
            return (embeddings @ self.quantize.normalised().T).argmax(dim=-1)

    @torch.no_grad()
    def tokenize(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, H*f, W*f] -> tokens: [B, H, W]."""
        return self.nearest(self.embed(pixels))


class Encoder(nn.Module):
    def __init__(self, config: LlamaGenVQConfig) -> None:
        super().__init__()
        multipliers = config.channel_multipliers
        width = config.channels
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        for level, multiplier in enumerate(multipliers):
            is_coarsest = level == len(multipliers) - 1
            resolution = Resolution(width, config.channels * multiplier, config.residual_blocks, is_coarsest)
            width = config.channels * multiplier
            if not is_coarsest:
                resolution.downsample = Downsample(width)
            self.conv_blocks.append(resolution)
        self.mid = middle(width)
        self.norm_out = norm(width)
        self.conv_out = nn.Conv2d(width, config.latent_channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.conv_in(pixels)
        for resolution in self.conv_blocks:
            hidden = resolution(hidden)
            downsample = getattr(resolution, "downsample", None)
            if downsample is not None:
                hidden = downsample(hidden)
        for block in self.mid:
            hidden = block(hidden)
        out: Tensor = self.conv_out(F.silu(self.norm_out(hidden)))
        return out


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, hidden: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(hidden, (0, 1, 0, 1)))
        return halved
