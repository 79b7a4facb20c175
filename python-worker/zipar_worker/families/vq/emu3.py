"""The decoder half of Emu3's image tokenizer, for one still image, under the keys of BAAI/Emu3-VisionTokenizer.

The tokenizer compresses video: a code stands for 4 frames of 8 x 8 pixels, and the official decoder turns a still
image into 4 frames, of which the first is kept. Frames mix in causal convolutions only, which come before all the rest,
and before the first frame there are zeros: so the first frame needs the last slice of their kernels alone, and every
convolution here has two dimensions. What the files call them: `emu3/vq.py`. Facts:
`emu3/tokenizer/modeling_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from math import log2
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.small_files import Count
from zipar_worker.families.vq.movqgan import MoVQConfig, MoVQDecoder, SpatialDecoder


class Emu3VQConfig(MoVQConfig, frozen=True):
    """The part of the configuration that shapes the decoder, in the words of the original, with its values."""

    codebook_size: Count = 32768
    temporal_downsample_factor: Count = 4
    num_attention_heads: Count = 1


class Emu3VQDecoder(MoVQDecoder):
    """MoVQGAN's decoder behind the blocks over frames."""

    def __init__(self, config: Emu3VQConfig) -> None:
        super().__init__(config, Decoder(config))


class Decoder(SpatialDecoder):
    """hidden, latents: [B, channels, rows, columns] -> pixels: [B, 3, rows*f, columns*f]"""

    def __init__(self, config: Emu3VQConfig) -> None:
        super().__init__(config)
        channels = config.z_channels
        temporal_steps = range(int(log2(config.temporal_downsample_factor)))
        self.time_res_stack = nn.ModuleList(TemporalBlock(channels) for _ in range(config.num_res_blocks))
        self.time_conv = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in temporal_steps)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        both = torch.cat((hidden, latents))
        for block in self.time_res_stack:
            both = block(both)
        for convolution in self.time_conv:
            both = functional.silu(convolution(both))
        return super().forward(*both.chunk(2))


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
