"""The decoder half of MoVQGAN, under its official keys: the latents of the codes also steer the decoder's norms.

Facts: `movqgan/models/vqgan.py` and `movqgan/modules/vqvae/movq_modules.py` of ai-forever/MoVQGAN.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from torch import Tensor, nn
from torch.nn import functional

from zipar_worker.checkpoints.small_files import Count
from zipar_worker.checkpoints.weights import Checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.families.vq.llamagen import GROUPS, Upsample, norm


class MoVQConfig(Struct, frozen=True):
    """What shapes the decoder; the defaults are those of `movqgan_270M.ckpt`."""

    codebook_size: Count = 16384
    embed_dim: Count = 4
    z_channels: Count = 4
    out_channels: Count = 3
    ch: Count = 256
    ch_mult: tuple[Count, ...] = (1, 2, 2, 4)
    """From the finest resolution to the coarsest."""
    num_res_blocks: Annotated[int, Meta(ge=0, le=64)] = 2
    """Per resolution in the encoder; the decoder has one more."""
    attn_resolutions: tuple[int, ...] = (3,)
    """Indices of the resolutions whose residual blocks are followed by attention."""


def movq_config_of_tensors(checkpoint: Checkpoint) -> MoVQConfig:
    """Sizes of a decoder, from the shapes of its tensors. Raises `checkpoint` where they give none."""

    def sizes(name: str, dimensions: int) -> tuple[int, ...]:
        shape = checkpoint.shape(name)
        if len(shape) != dimensions or 0 in shape:
            raise WorkerError(
                "checkpoint",
                f"{checkpoint.path}: expected the tensor {name} in {dimensions} dimensions, received {list(shape)}. "
                f"It is not MoVQGAN's.",
            )
        return shape

    codebook_size, embed_dim = sizes("quantize.embedding.weight", 2)
    out_channels, channels = sizes("decoder.conv_out.weight", 4)[:2]
    levels = checkpoint.counted(lambda level: f"decoder.up.{level}.block.0.conv1.weight")
    blocks = checkpoint.counted(lambda block: f"decoder.up.0.block.{block}.conv1.weight")
    widths = [sizes(name, 4)[0] for name in levels]
    if not levels or channels % GROUPS or any(width % channels for width in widths) or out_channels != 3:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} is no decoder of MoVQGAN: expected resolutions (decoder.up) in multiples of the "
            f"channels of decoder.conv_out, these in a multiple of {GROUPS}, and 3 colours; received {widths}, "
            f"{channels} and {out_channels}. Download movqgan_270M.ckpt from ai-forever/MoVQGAN.",
        )
    return MoVQConfig(
        codebook_size=codebook_size,
        embed_dim=embed_dim,
        z_channels=sizes("post_quant_conv.weight", 4)[0],
        ch=channels,
        ch_mult=tuple(width // channels for width in widths),
        num_res_blocks=len(blocks) - 1,
        attn_resolutions=tuple(
            level for level in range(len(levels)) if f"decoder.up.{level}.attn.0.q.weight" in checkpoint.tensors
        ),
    )


class MoVQDecoder(ImageDecoder):
    """Codebook, projection and convolutional decoder."""

    def __init__(self, config: MoVQConfig, decoder: nn.Module) -> None:
        """decoder: `SpatialDecoder`, or one with something before it."""
        super().__init__()
        self.pixels_per_token = 1 << (len(config.ch_mult) - 1)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.codebook_size, config.embed_dim)})
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        self.decoder = decoder

    def decode(self, codes: Tensor) -> Tensor:
        latents = self.quantize["embedding"](codes).permute(0, 3, 1, 2)
        pixels: Tensor = self.decoder(self.post_quant_conv(latents), latents)
        return pixels


class SpatialDecoder(nn.Module):
    """hidden, latents: [B, channels, rows, columns] -> pixels: [B, 3, rows*f, columns*f]"""

    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        levels, latent_width = range(len(config.ch_mult)), config.embed_dim
        widths = [config.ch * multiplier for multiplier in config.ch_mult]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], latent_width)
        # Listed from the finest resolution to the coarsest, run the other way.
        self.up = nn.ModuleList(
            Level(config, [*widths, widths[-1]][level + 1], widths[level], level) for level in levels
        )
        self.norm_out = SpatialNorm(widths[0], latent_width)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        hidden = self.mid(self.conv_in(hidden), latents)
        for level in reversed(self.up):
            hidden = level(hidden, latents)
        pixels: Tensor = self.conv_out(functional.silu(self.norm_out(hidden, latents)))
        return pixels


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

    def __init__(self, config: MoVQConfig, width_in: int, width: int, level: int) -> None:
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
