"""The decoder half of Emu3's image tokenizer, with the modules of `transformers`, for one still image.

The tokenizer compresses video: a code stands for 4 frames of 8 x 8 pixels, and the official decoder turns a still
image into 4 frames, of which the first is kept. Frames mix in causal convolutions only, which come before all the rest,
so the first frame needs none of the others: here it is the only one, at a quarter of the work. Facts:
`emu3/tokenizer/modeling_emu3visionvq.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAEConv3d, Emu3VQVAEDecoder

_NORMALISED_GROUPS = 32


class Emu3VQDecoder(nn.Module):
    """From codes to pixels. The names of its parameters are those of `transformers.Emu3VQVAE`."""

    def __init__(self, config: Emu3VQVAEConfig) -> None:
        super().__init__()
        config._attn_implementation = "sdpa"
        self.quantize = _Codebook(config.codebook_size, config.embed_dim)
        self.post_quant_conv = Emu3VQVAEConv3d(
            config.embed_dim,
            config.latent_channels,
            kernel_size=(3, 1, 1),  # type: ignore[arg-type]
            stride=(1, 1, 1),  # type: ignore[arg-type]
        )
        self.decoder = Emu3VQVAEDecoder(config)
        _freeze_normalisation_(self.decoder)
        self.eval()

    def forward(self, codes: Tensor) -> Tensor:
        """codes: int64 [B, rows, columns] -> [B, 3, 8 * rows, 8 * columns], about -1 to 1"""
        decoder = self.decoder
        # [B, embed_dim, 1 frame, rows, columns]
        quantised = self.quantize(codes).permute(0, 3, 1, 2)[:, :, None]
        states: Tensor = torch.cat((self.post_quant_conv(quantised), quantised))
        for block in decoder.time_res_stack:
            states = block(states)
        for layer in decoder.time_conv:
            # The official layer first repeats every frame, which leaves the first one in its place.
            states = functional.silu(layer.get_submodule("conv")(states))
        hidden, quantised = states[:, :, 0].chunk(2)
        hidden = decoder.conv_in(hidden)
        hidden = decoder.middle_block(hidden, quantised)
        hidden = decoder.up_block(hidden, quantised)
        hidden = functional.silu(decoder.norm_out(hidden, quantised))
        pixels: Tensor = decoder.conv_out(hidden)
        return pixels


def pixels_per_token(config: Emu3VQVAEConfig) -> int:
    """Along one side."""
    return int(2 ** (len(config.channel_multiplier) - 1))


def check_config(config: Emu3VQVAEConfig) -> None:
    """Raises `ValueError` for a configuration that gives no decoder of still images."""
    if not config.channel_multiplier:
        raise ValueError("it has no resolutions: its channel multipliers are empty")
    sizes = (config.codebook_size, config.embed_dim, config.base_channels, *config.channel_multiplier)
    if min(sizes) < 1 or config.num_res_blocks < 0:
        raise ValueError("its sizes must be positive")
    if config.base_channels % _NORMALISED_GROUPS:
        raise ValueError(f"its channels, {config.base_channels}, are no multiple of {_NORMALISED_GROUPS}")
    if config.num_attention_heads != 1:
        raise ValueError(f"its attention has {config.num_attention_heads} heads; expected 1")
    if config.embed_dim != config.latent_channels:
        raise ValueError(f"the codes have {config.embed_dim} channels but the latents {config.latent_channels}")
    if config.out_channels != 3:
        raise ValueError(f"it makes {config.out_channels} colour channels; expected 3")
    if config.temporal_downsample_factor < 1 or log2(config.temporal_downsample_factor) % 1:
        raise ValueError(f"its temporal factor {config.temporal_downsample_factor} is no power of 2")


class _Codebook(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)

    def forward(self, codes: Tensor) -> Tensor:
        """codes: int64 [...] -> [..., dim]"""
        vectors: Tensor = self.embedding(codes)
        return vectors


class _FixedBatchNorm(nn.Module):
    """Batch normalisation at inference: its statistics are parameters, loaded, counted and checked like the rest."""

    def __init__(self, normalisation: nn.BatchNorm3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(normalisation.num_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(normalisation.num_features), requires_grad=False)
        self.running_mean = nn.Parameter(torch.empty(normalisation.num_features), requires_grad=False)
        self.running_var = nn.Parameter(torch.empty(normalisation.num_features), requires_grad=False)
        self._epsilon = normalisation.eps

    def forward(self, states: Tensor) -> Tensor:
        """states: [B, channels, frames, rows, columns]"""
        return functional.batch_norm(
            states, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self._epsilon
        )


def _freeze_normalisation_(module: nn.Module) -> None:
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.BatchNorm3d):
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, _FixedBatchNorm(part))
