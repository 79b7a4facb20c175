"""The model of every family: opened from its files, then loaded. A family fills in the fields of `OpenedModel`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, Adapt, Checkpoint, as_stored, load_module_, parameter_count
from zipar_worker.errors import WorkerError, harmless
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.execute.linear import pack_linears_, show_linear_, stored_bytes
from zipar_worker.execute.ranks import ALONE, Ranks
from zipar_worker.families.description import BRANCHES, Description, Prompt
from zipar_worker.families.prompts import PromptEncoder
from zipar_worker.families.transformer import Transformer
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.wire.protocol import (
    ClassCard,
    ClassConditioning,
    EncodePrompt,
    Grid,
    ImageDecoderCard,
    KvCacheForm,
    ModelCard,
    SamplingDefaults,
    TextCard,
    TextConditioning,
)

_NAME_CHARACTERS = 256
"""On a card."""

Module = TypeVar("Module", bound=nn.Module, covariant=True)


@dataclass(frozen=True, slots=True)
class Stored(Generic[Module]):
    """A module built `without_weights`, and the file that has them; `keys` and `adapt` as for `load_module_`."""

    module: Module
    checkpoint: Checkpoint
    keys: KeyMap = NO_RULES
    adapt: Adapt = as_stored

    def load_(self, name: str, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> None:
        """name: of the module, for whoever watches. Raises `checkpoint`."""
        load_module_(
            self.module,
            self.checkpoint,
            dtype=dtype,
            device=device,
            report=lambda completed, total: report(f"load the {name}", completed, total, "bytes"),
            keys=self.keys,
            adapt=self.adapt,
            see_whole=show_linear_,
            after_tensor=pack_linears_,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A checkpoint whose files were found and whose configuration and shapes were read; no tensor is loaded."""

    family: str
    name: str
    grids: tuple[Grid, ...]
    """That the model makes, the default first."""
    row_end: Literal["none", "token"]
    code_count: int
    branches: tuple[str, ...] = BRANCHES
    """Of guidance: all, or the conditional one alone for a model without."""
    remarks: tuple[str, ...] = ()
    """What the user should know of how the checkpoint was read; it stands behind the name."""
    conditioning: ClassCard | TextCard
    defaults: SamplingDefaults
    prompt_slots: int
    """Of the longest prompt."""
    prompts: PromptEncoder
    transformer: Stored[Transformer]
    image_tokenizer: Stored[ImageDecoder] | None
    kv_cache: KvCacheForm = "full"
    fits_float16: bool = False
    """Whether the official code offers float16 for its activations. Others overflow in it, or nobody has shown that
    they do not.
    """

    ranks: Ranks = ALONE
    """The processes that it is split over. The first one has what is not split: image tokenizer and text encoder."""

    def split(self, ranks: Ranks) -> OpenedModel:
        """This rank's share. Raises `device` where there are no equal shares."""
        self.transformer.module.split_(ranks)
        return replace(self, ranks=ranks, image_tokenizer=self.image_tokenizer if ranks.rank == 0 else None)

    def describe(self, dtype: torch.dtype) -> Description:
        """For weights of this number type. Bytes and heads are this rank's, the card is the whole model's."""
        config = self.transformer.module.decoder.config
        kv_shape = replace(config.kv_shape, is_int8=self.kv_cache == "int8")
        decoder = self.image_tokenizer.module if self.image_tokenizer is not None else None
        numbers = parameter_count(self.transformer.module)
        weight_bytes = {
            "transformer": stored_bytes(self.transformer.module, dtype),
            "image tokenizer": parameter_count(decoder) * torch.float32.itemsize if decoder is not None else 0,
            "text encoder": self.prompts.weight_bytes(dtype) if self.ranks.rank == 0 else 0,
        }
        card = ModelCard(
            family=self.family,
            name=_card_name(self.name, self.remarks),
            parameter_count=numbers,
            code_count=self.code_count,
            row_end=self.row_end,
            grids=self.grids,
            conditioning=self.conditioning,
            branches=self.branches,
            defaults=self.defaults,
            image_decoder=ImageDecoderCard(pixels_per_token=decoder.pixels_per_token) if decoder is not None else None,
            kv_bytes_per_slot=kv_shape.bytes_per_slot(dtype),
        )
        return Description(
            card=card,
            kv_shape=replace(kv_shape, head_count=config.kv_head_count // self.ranks.count),
            head_count=config.head_count // self.ranks.count,
            slot_count=self.prompt_slots + max(grid_slots(grid, self.row_end) for grid in self.grids),
            weight_bytes={part: count for part, count in weight_bytes.items() if count > 0},
        )

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> LoadedModel:
        """Raises `checkpoint` where tensors are missing, left over, or of other shapes."""
        self.transformer.load_("transformer", dtype=dtype, device=device, report=report)
        decoder = None
        if self.image_tokenizer is not None:
            # Always float32, as in the official codes: it runs once per image.
            self.image_tokenizer.load_("image tokenizer", dtype=torch.float32, device=device, report=report)
            decoder = self.image_tokenizer.module.eval()
        if self.ranks.rank == 0:
            self.prompts.load_(dtype=dtype, device=device, report=report)
        return LoadedModel(self.describe(dtype).card, self.transformer.module.eval(), self.prompts, decoder)


class LoadedModel:
    """What the executor runs. B counts batch rows (branches of sequences), Q queries per row, V codes."""

    def __init__(
        self, card: ModelCard, transformer: Transformer, prompts: PromptEncoder, image_decoder: ImageDecoder | None
    ) -> None:
        self.card = card
        self.transformer = transformer
        self.prompts = prompts
        self.image_decoder = image_decoder
        self._pixel_device = transformer.device

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        """Raises `bad-request` for a grid or a conditioning that is not on the card, `prompt` for one it refuses."""
        self._check_conditioning(request.conditioning)
        return self.prompts.encode(request.conditioning, self._grid(request), len(request.cache_rows))

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [B, Q], codes and the row-end token as on the wire -> [B, Q, dim]"""
        return self.transformer.embed(tokens)

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """All layers and the final norm. embeddings: [B, Q, dim], positions: int64 [B, Q] -> [B, Q, dim]"""
        hidden: Tensor = self.transformer(embeddings, positions, attention)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, dim] -> raw logits of the codes alone: float32 [N, V]"""
        return self.transformer.logits(hidden).float()

    def decode_image(self, codes: Tensor) -> Tensor:
        """codes: int64 [rows, columns], anywhere -> [height, width, 3] in [-1, 1], on the image tokenizer's device."""
        if self.image_decoder is None:
            raise ValueError("this checkpoint has no image tokenizer")
        return self.image_decoder.decode(codes[None].to(self._pixel_device))[0].permute(1, 2, 0)

    @contextmanager
    def image_tokenizer_on(self, device: torch.device) -> Iterator[None]:
        """Has the image tokenizer on another device for a while. Raises what fails for want of memory there."""
        home = self._pixel_device
        self._move_image_decoder(device)
        try:
            yield
        finally:
            self._move_image_decoder(home)

    def _move_image_decoder(self, device: torch.device) -> None:
        if self.image_decoder is not None:
            self.image_decoder.to(device)
        self._pixel_device = device

    def _grid(self, request: EncodePrompt) -> Grid:
        for grid in self.card.grids:
            if (grid.rows, grid.columns) == (request.rows, request.columns):
                return grid
        known = ", ".join(f"{grid.rows} x {grid.columns}" for grid in self.card.grids)
        raise WorkerError(
            "bad-request",
            f"encode-prompt: {self.card.name} makes grids of {known} tokens, received {request.rows} x "
            f"{request.columns}",
        )

    def _check_conditioning(self, conditioning: ClassConditioning | TextConditioning) -> None:
        card = self.card.conditioning
        if isinstance(card, ClassCard):
            if not isinstance(conditioning, ClassConditioning) or conditioning.class_index >= card.class_count:
                raise WorkerError(
                    "bad-request",
                    f"encode-prompt: {self.card.name} takes a class index in 0..{card.class_count - 1}, received "
                    f"{conditioning}",
                )
            return
        if not isinstance(conditioning, TextConditioning):
            raise WorkerError("bad-request", f"encode-prompt: {self.card.name} takes text, received a class")
        if conditioning.negative_prompt is not None and card.negative_prompt is None:
            raise WorkerError(
                "prompt",
                f"{self.card.name} takes no negative prompt: what guidance leads away from was learnt in training. "
                f"Leave it out.",
            )


def _card_name(name: str, remarks: tuple[str, ...]) -> str:
    """With whatever a terminal would obey taken out: it may be the name of a stranger's directory."""
    return harmless(f"{name} ({'; '.join(remarks)})" if remarks else name)[:_NAME_CHARACTERS]


def pixel_grid(rows: int, columns: int, pixels_per_token: int) -> Grid:
    """A grid of so many tokens, with its size in pixels."""
    return Grid(rows=rows, columns=columns, width=columns * pixels_per_token, height=rows * pixels_per_token)


def grid_slots(grid: Grid, row_end: Literal["none", "token"]) -> int:
    """Slots of a finished grid, a row's end among its row's."""
    return grid.rows * (grid.columns + (row_end == "token"))


def sampling_defaults(
    code_count: int,
    grids: tuple[Grid, ...],
    *,
    guidance_scale: float,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    window: int,
) -> SamplingDefaults:
    """Those of an official code, as far as a small model has so many codes and columns; top_k 0 is off."""
    return SamplingDefaults(
        guidance_scale=guidance_scale,
        temperature=temperature,
        top_k=top_k if code_count > top_k else 0,
        top_p=top_p,
        window=min(window, *(grid.columns for grid in grids)),
    )
