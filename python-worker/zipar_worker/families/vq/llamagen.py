"""LlamaGen's VQ image tokenizer: the decoder half, under the official state-dict keys.

Shapes and keys follow FoundationVision/LlamaGen, tokenizer/tokenizer_image/vq_model.py (VQ-8, VQ-16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile

from torch import Tensor, nn
from torch.nn import functional as F

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.passed_over import ENCODER
from zipar_worker.checkpoints.weights import NO_RULES, Checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.vq.image_decoder import ImageDecoder

GROUPS = 32
NORM_EPSILON = 1e-6

DECODER_KEYS = KeyMap(elsewhere=ENCODER)
"""Of a taming-style image tokenizer."""


def sought_tokenizer(key: str | None) -> Sought:
    """A taming-style image tokenizer. key: see `Sought`.

    Of weights and their average, the average: as in the official evaluation (`reconstruction_vq_ddp.py`).
    """
    return Sought(("quantize.embedding.weight",), prefers_ema=True, key=key)


@dataclass(frozen=True)
class LlamaGenVQConfig:
    """Sizes of the tokenizer; the defaults are VQ-16's."""

    codebook_size: int = 16384
    embedding_dim: int = 8
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    residual_blocks: int = 2
    """Per resolution in the encoder; the decoder has one more."""
    latent_channels: int = 256
    attention_heads: int = 1
    has_unit_codes: bool = True
    """Whether codes are brought to length 1, or are what the codebook holds."""

    @property
    def pixels_per_token(self) -> int:
        """Side of the square of pixels that one token stands for: every resolution but the first halves it."""
        return 1 << (len(self.channel_multipliers) - 1)


def config_of_tensors(checkpoint: Checkpoint, keys: KeyMap = NO_RULES) -> LlamaGenVQConfig:
    """Sizes of a decoder, from the shapes of its tensors. Raises `checkpoint` where one is missing or does not fit."""

    def sizes(name: str, dimensions: int) -> tuple[int, ...]:
        shape = checkpoint.shape(keys.key(name))
        if len(shape) != dimensions:
            raise WorkerError(
                "checkpoint",
                f"{checkpoint.path}: expected the tensor {keys.key(name)} in {dimensions} dimensions, received "
                f"{list(shape)}.",
            )
        return shape

    def present(name: Callable[[int], str]) -> list[str]:
        return list(takewhile(lambda name: keys.key(name) in checkpoint.tensors, map(name, count())))

    codebook_size, embedding_dim = sizes("quantize.embedding.weight", 2)
    channels = sizes("decoder.conv_out.weight", 4)[1]
    if channels == 0 or channels % GROUPS:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path}: expected the tensor {keys.key('decoder.conv_out.weight')} to have channels in a "
            f"multiple of {GROUPS}, received {channels}.",
        )
    levels = present(lambda level: f"decoder.conv_blocks.{level}.res.0.conv1.weight")
    blocks = present(lambda block: f"decoder.conv_blocks.0.res.{block}.conv1.weight")
    widths = [sizes(name, 4)[0] for name in levels]
    if not levels or not blocks or any(width == 0 or width % channels for width in widths):
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path}: its resolutions have {widths} channels; expected multiples of {channels}, those of "
            f"its last. It is no image tokenizer of this kind.",
        )
    return LlamaGenVQConfig(
        codebook_size=codebook_size,
        embedding_dim=embedding_dim,
        channels=channels,
        # The decoder runs from the coarsest level to the finest; multipliers count from the finest.
        channel_multipliers=tuple(width // channels for width in reversed(widths)),
        residual_blocks=len(blocks) - 1,
        latent_channels=sizes("post_quant_conv.weight", 4)[0],
    )


class LlamaGenVQDecoder(ImageDecoder):
    """Codebook, projection and convolutional decoder."""

    def __init__(self, config: LlamaGenVQConfig) -> None:
        super().__init__()
        self.pixels_per_token = config.pixels_per_token
        self.quantize = Codebook(config.codebook_size, config.embedding_dim, has_unit_codes=config.has_unit_codes)
        self.post_quant_conv = nn.Conv2d(config.embedding_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def decode(self, codes: Tensor) -> Tensor:
        return self.decode_embeddings(self.quantize(codes).permute(0, 3, 1, 2))

    def decode_embeddings(self, embeddings: Tensor) -> Tensor:
        """embeddings: [B, embedding_dim, H, W] -> pixels: [B, 3, H*f, W*f]."""
        pixels: Tensor = self.decoder(self.post_quant_conv(embeddings))
        return pixels


class Codebook(nn.Module):
    """Codes, as a rule on the unit sphere."""

    def __init__(self, size: int, dim: int, *, has_unit_codes: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        self.has_unit_codes = has_unit_codes

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [...] -> vectors: [..., dim]."""
        return F.embedding(tokens, self.normalised() if self.has_unit_codes else self.embedding.weight)

    def normalised(self) -> Tensor:
        """Every code at length 1: [size, dim]."""
        return F.normalize(self.embedding.weight, dim=-1)


class Decoder(nn.Module):
    def __init__(self, config: LlamaGenVQConfig) -> None:
        super().__init__()
        multipliers = config.channel_multipliers
        width = config.channels * multipliers[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.mid = middle(width, config.attention_heads)
        self.conv_blocks = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            is_coarsest = level == len(multipliers) - 1
            resolution = Resolution(
                width,
                config.channels * multipliers[level],
                config.residual_blocks + 1,
                is_coarsest,
                config.attention_heads,
            )
            width = config.channels * multipliers[level]
            if level > 0:
                resolution.upsample = Upsample(width)
            self.conv_blocks.append(resolution)
        self.norm_out = norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv_in(hidden)
        for block in self.mid:
            hidden = block(hidden)
        for resolution in self.conv_blocks:
            hidden = resolution(hidden)
            upsample = getattr(resolution, "upsample", None)
            if upsample is not None:
                hidden = upsample(hidden)
        out: Tensor = self.conv_out(F.silu(self.norm_out(hidden)))
        return out


class Resolution(nn.Module):
    """Residual blocks at one resolution; at the coarsest each is followed by attention."""

    def __init__(self, width_in: int, width: int, block_count: int, has_attention: bool, head_count: int = 1) -> None:
        super().__init__()
        widths = [width_in] + [width] * (block_count - 1)
        self.res = nn.ModuleList(ResidualBlock(w, width) for w in widths)
        self.attn = nn.ModuleList(Attention(width, head_count) for _ in range(block_count if has_attention else 0))

    def forward(self, hidden: Tensor) -> Tensor:
        for k, block in enumerate(self.res):
            hidden = block(hidden)
            if len(self.attn) > 0:
                hidden = self.attn[k](hidden)
        return hidden


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.norm1 = norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        if width_in != width:
            self.nin_shortcut = nn.Conv2d(width_in, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        change = self.conv1(F.silu(self.norm1(hidden)))
        change = self.conv2(F.silu(self.norm2(change)))
        if hasattr(self, "nin_shortcut"):
            hidden = self.nin_shortcut(hidden)
        result: Tensor = hidden + change
        return result


class Attention(nn.Module):
    """Self-attention over all positions."""

    def __init__(self, width: int, head_count: int = 1) -> None:
        super().__init__()
        self.head_count = head_count
        self.norm = norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden)
        # [B, heads, H*W, width of a head]
        q, k, v = (
            project(normed).flatten(2).unflatten(1, (self.head_count, -1)).transpose(2, 3)
            for project in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        change: Tensor = self.proj_out(attended.transpose(2, 3).reshape(hidden.shape))
        return hidden + change


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return doubled


def middle(width: int, head_count: int = 1) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(width, width), Attention(width, head_count), ResidualBlock(width, width)])


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width, eps=NORM_EPSILON)
