"""Emu3-Gen as the executor sees it. The transformer is that of `transformers`.

Facts: `image_generation.py` and `emu3/mllm/processing_emu3.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import Emu3TextConfig, Emu3TextModel

from zipar_worker.checkpoints.checkpoint import load_module_, parameter_count, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import ProgressReporter, PromptBranch
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.families.emu3.config import OFFICIAL_IMAGE_AREA, kv_head_count
from zipar_worker.families.emu3.layouts import Emu3Files, adapt_vq_tensor, open_files
from zipar_worker.families.emu3.vocabulary import END_ROW, NEGATIVE_PROMPT, PADDING, POSITIVE_SUFFIX, Vocabulary
from zipar_worker.families.family import Description, OpenOptions, Prompt
from zipar_worker.families.image_decoder import load_image_decoder_
from zipar_worker.families.transformers_backbone import build_backbone, run_backbone
from zipar_worker.families.vq.emu3 import Emu3VQDecoder, pixels_per_token
from zipar_worker.wire.protocol import (
    EncodePrompt,
    Grid,
    ImageDecoderCard,
    ModelCard,
    SamplingDefaults,
    TextCard,
    TextConditioning,
)

RATIOS = ((1, 1), (16, 9), (9, 16), (4, 3), (3, 4), (3, 2), (2, 3), (21, 9))
"""Width to height, the default first."""

BRANCHES = ("conditional", "unconditional")

_OFFICIAL_PIXELS_PER_TOKEN = 8
_GUIDANCE_SCALE = 3.0
_TOP_K = 2048
_WINDOW = 7
"""Of the ZipAR paper (arXiv 2412.04062): 8,190 forwards become 713."""


class Emu3Transformer(nn.Module):
    """The decoder, and of its output layer the rows of the codes alone: a sixth of the vocabulary."""

    def __init__(self, config: Emu3TextConfig, code_count: int) -> None:
        super().__init__()
        self.model = cast(Emu3TextModel, build_backbone(Emu3TextModel, config))
        self.lm_head = nn.Linear(config.hidden_size, code_count, bias=False)


@dataclass(frozen=True, slots=True)
class Emu3Checkpoint:
    """An opened checkpoint; see `OpenedCheckpoint`."""

    files: Emu3Files
    transformer: Emu3Transformer
    """Without weights until `load`."""
    image_decoder: Emu3VQDecoder | None

    def describe(self, dtype: torch.dtype) -> Description:
        config = self.files.config
        grids = image_grids(self.files.image_area, self._pixels_per_token())
        kv_shape = KvShape(config.num_hidden_layers, kv_head_count(config), _head_dim(config))
        transformer_parameters = parameter_count(self.transformer)
        weight_bytes = {"transformer": transformer_parameters * dtype.itemsize}
        if self.image_decoder is not None:
            weight_bytes["image tokenizer"] = parameter_count(self.image_decoder) * torch.float32.itemsize
        card = ModelCard(
            family="emu3",
            name=_name(self.files.image_area),
            parameter_count=transformer_parameters,
            code_count=self.files.vocabulary.code_count,
            row_end="token",
            grids=grids,
            conditioning=TextCard(negative_prompt=NEGATIVE_PROMPT, max_prompt_tokens=self._longest_prompt(grids)),
            branches=BRANCHES,
            defaults=SamplingDefaults(
                guidance_scale=_GUIDANCE_SCALE,
                temperature=1.0,
                top_k=_TOP_K if self.files.vocabulary.code_count > _TOP_K else 0,
                top_p=1.0,
                window=min(_WINDOW, *(grid.columns for grid in grids)),
            ),
            image_decoder=ImageDecoderCard(pixels_per_token=self._pixels_per_token()) if self.image_decoder else None,
            kv_bytes_per_slot=kv_shape.bytes_per_slot(dtype),
        )
        return Description(
            card=card,
            kv_shape=kv_shape,
            head_count=config.num_attention_heads,
            slot_count=config.max_position_embeddings,
            weight_bytes=weight_bytes,
        )

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> Emu3:
        first, count = self.files.vocabulary.first_code, self.files.vocabulary.code_count
        load_module_(
            self.transformer,
            self.files.weights,
            dtype=dtype,
            device=device,
            report=lambda completed, total: report("load the transformer", completed, total, "bytes"),
            adapt=lambda name, tensor: tensor[first : first + count] if name == "lm_head.weight" else tensor,
        )
        if self.image_decoder is not None and self.files.image_tokenizer is not None:
            load_image_decoder_(
                self.image_decoder,
                self.files.image_tokenizer.weights,
                device=device,
                report=report,
                adapt=adapt_vq_tensor,
            )
        self.transformer.eval()
        return Emu3(self.transformer, self.image_decoder, self.files.vocabulary, self.describe(dtype).card)

    def _pixels_per_token(self) -> int:
        tokenizer = self.files.image_tokenizer
        return pixels_per_token(tokenizer.config) if tokenizer is not None else _OFFICIAL_PIXELS_PER_TOKEN

    def _longest_prompt(self, grids: tuple[Grid, ...]) -> int:
        """Tokens of a prompt that leave room for the largest image within the positions that the model knows."""
        positions = self.files.config.max_position_embeddings
        longest = positions - max(grid.rows * (grid.columns + 1) for grid in grids)
        if longest < 1:
            raise WorkerError(
                "checkpoint",
                f"{self.files.weights.path}: the model knows {positions} positions, too few for images of "
                f"{self.files.image_area} pixels. The configuration of the checkpoint is wrong: download it again.",
            )
        return longest


class Emu3:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        transformer: Emu3Transformer,
        image_decoder: Emu3VQDecoder | None,
        vocabulary: Vocabulary,
        card: ModelCard,
    ) -> None:
        self._transformer = transformer
        self._image_decoder = image_decoder
        self._vocabulary = vocabulary
        self._card = card

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        prompts = self._prompts(request)
        length = max(map(len, prompts))
        paddings = [length - len(ids) for ids in prompts]
        padding_id = self._vocabulary.ids[PADDING]
        padded = [[padding_id] * padding + ids for padding, ids in zip(paddings, prompts, strict=True)]
        embedding = self._transformer.model.embed_tokens
        return Prompt(
            embeddings=embedding(torch.tensor(padded).to(embedding.weight.device)),
            branches=tuple(
                # Positions are counted from the first token that is none of the padding.
                PromptBranch(name, padding=padding, position_offset=padding)
                for name, padding in zip(BRANCHES, paddings, strict=False)
            ),
        )

    def embed(self, tokens: Tensor) -> Tensor:
        vocabulary = self._vocabulary
        ids = torch.where(tokens == vocabulary.code_count, vocabulary.ids[END_ROW], tokens + vocabulary.first_code)
        embeddings: Tensor = self._transformer.model.embed_tokens(ids)
        return embeddings

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        return run_backbone(self._transformer.model, embeddings, positions, attention)

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._transformer.lm_head(hidden)
        return logits.float()

    def decode_image(self, codes: Tensor) -> Tensor:
        if self._image_decoder is None:
            raise ValueError("this checkpoint has no image tokenizer")
        pixels: Tensor = self._image_decoder(codes[None])
        return pixels[0].permute(1, 2, 0)

    def _prompts(self, request: EncodePrompt) -> list[list[int]]:
        """The ids of each branch that the request has a cache row for. Raises `bad-request`, `prompt`."""
        card, conditioning = self._card, request.conditioning
        if not isinstance(conditioning, TextConditioning):
            raise WorkerError("bad-request", f"encode-prompt: {card.name} takes text, received a class")
        if (request.rows, request.columns) not in [(grid.rows, grid.columns) for grid in card.grids]:
            known = ", ".join(f"{grid.rows} x {grid.columns}" for grid in card.grids)
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {card.name} makes grids of {known} tokens, received {request.rows} x "
                f"{request.columns}",
            )
        negative = conditioning.negative_prompt
        texts = (conditioning.prompt + POSITIVE_SUFFIX, NEGATIVE_PROMPT if negative is None else negative)
        prompts = [
            self._vocabulary.encode_prompt(text, request.rows, request.columns)
            for text, _ in zip(texts, request.cache_rows, strict=False)
        ]
        _check_lengths(prompts, card)
        return prompts


def open_emu3(directory: Path, options: OpenOptions) -> Emu3Checkpoint:
    """Opens a directory of either layout. Raises `checkpoint`."""
    return build_checkpoint(open_files(directory, options.vq_path))


def build_checkpoint(files: Emu3Files) -> Emu3Checkpoint:
    """The modules that the files fill, without their weights."""
    tokenizer = files.image_tokenizer
    with without_weights():
        transformer = Emu3Transformer(files.config, files.vocabulary.code_count)
        image_decoder = Emu3VQDecoder(tokenizer.config) if tokenizer is not None else None
    return Emu3Checkpoint(files, transformer, image_decoder)


def image_grids(image_area: int, pixels_per_token: int) -> tuple[Grid, ...]:
    """A grid for each ratio, as close to the area as whole tokens allow; halves are rounded to even, as in Python."""
    grids = []
    for width, height in RATIOS:
        scale = (image_area / (height * width)) ** 0.5
        rows = max(round(height * scale / pixels_per_token), 1)
        columns = max(round(width * scale / pixels_per_token), 1)
        grids.append(Grid(rows=rows, columns=columns, width=columns * pixels_per_token, height=rows * pixels_per_token))
    # Small areas may give two ratios the same grid.
    return tuple(dict.fromkeys(grids))


def _check_lengths(prompts: list[list[int]], card: ModelCard) -> None:
    assert isinstance(card.conditioning, TextCard)
    allowed = card.conditioning.max_prompt_tokens
    for name, ids in zip(("prompt", "negative prompt"), prompts, strict=False):
        if len(ids) > allowed:
            raise WorkerError(
                "prompt",
                f"The {name} has {len(ids)} tokens, with those that {card.name} adds to every {name}; at most "
                f"{allowed} leave room for the image. Shorten it.",
                {"tokenCount": len(ids), "maxTokens": allowed},
            )


def _name(image_area: int) -> str:
    side = image_area**0.5
    return "Emu3-Gen" if image_area == OFFICIAL_IMAGE_AREA else f"Emu3 ({side:.0f} x {side:.0f} pixels)"


def _head_dim(config: Emu3TextConfig) -> int:
    return int(config.hidden_size // config.num_attention_heads)
