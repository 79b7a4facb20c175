"""Lumina-mGPT, as the executor sees it: a Chameleon decoder that tells itself an image's size and ends its rows.

An image is `<boi> <height> <width>`, then its rows, each closed by a token of its own. The official code lets the model
write the first three and forces the row ends; here both are given. The unconditional branch is told the size alone, so
it starts with those three tokens, at positions of its own.

Facts: `lumina_mgpt/inference_solver.py` and README.md of Alpha-VLLM/Lumina-mGPT.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers import ChameleonModel

from zipar_worker.checkpoints.checkpoint import load_module_, parameter_count, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import ProgressReporter, PromptBranch
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.families.family import Description, Prompt
from zipar_worker.families.image_decoder import is_beside_decoder, load_image_decoder_
from zipar_worker.families.lumina_mgpt import NAME
from zipar_worker.families.lumina_mgpt.files import Config, Contents, decoder_config
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS, PromptTokenizer, known_sizes
from zipar_worker.families.transformers_backbone import build_backbone, run_backbone
from zipar_worker.families.vq.chameleon import ChameleonVQDecoder
from zipar_worker.wire.protocol import (
    EncodePrompt,
    Grid,
    ImageDecoderCard,
    ModelCard,
    SamplingDefaults,
    TextCard,
    TextConditioning,
)

BRANCHES = ("conditional", "unconditional")
PIXELS_PER_TOKEN = 16
"""Of the image tokenizer that the published models were trained with: half of the unit in which sizes are told."""

_DEFAULT_GUIDANCE_SCALE = 4.0
_DEFAULT_TOP_K = 2000


class OpenedLuminaMgpt:
    """An opened checkpoint; see `OpenedCheckpoint`."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        config, image_tokenizer = contents.config, contents.image_tokenizer
        self._kv_shape = KvShape(config.num_hidden_layers, config.kv_head_count, config.head_dim)
        with without_weights():
            self._transformer = LuminaTransformer(config, len(contents.tokenizer.vocabulary.codes))
            self._image_decoder = ChameleonVQDecoder(image_tokenizer.config) if image_tokenizer is not None else None
        self._grids = [_grid(width, height) for width, height in known_sizes(contents.target)]
        self._check_pixels()

    def describe(self, dtype: torch.dtype) -> Description:
        weight_bytes = {"transformer": parameter_count(self._transformer) * dtype.itemsize}
        if self._image_decoder is not None:
            weight_bytes["image tokenizer"] = parameter_count(self._image_decoder) * torch.float32.itemsize
        return Description(
            card=self._card(dtype),
            kv_shape=self._kv_shape,
            head_count=self._contents.config.num_attention_heads,
            slot_count=MAXIMAL_PROMPT_TOKENS + max(grid.rows * (grid.columns + 1) for grid in self._grids),
            weight_bytes=weight_bytes,
        )

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> LuminaMgpt:
        contents = self._contents
        load_module_(
            self._transformer,
            contents.checkpoint,
            dtype=dtype,
            device=device,
            report=lambda completed, total: report("load the transformer", completed, total, "bytes"),
            adapt=self._adapt,
        )
        if contents.image_tokenizer is not None and self._image_decoder is not None:
            load_image_decoder_(
                self._image_decoder,
                contents.image_tokenizer.checkpoint,
                device=device,
                report=report,
                ignored=is_beside_decoder,
            )
        return LuminaMgpt(contents.name, self._transformer, contents.tokenizer, self._grids, self._image_decoder)

    def _adapt(self, name: str, stored: Tensor) -> Tensor:
        """Norms of queries and keys, stored once for all heads, are repeated; the head's other rows are left out."""
        config = self._contents.config
        # What has another shape is left as it is, for the loader to refuse.
        if stored.dim() != 2:
            return stored
        if name == "lm_head.weight" and stored.shape[0] == config.vocab_size:
            return stored[list(self._contents.tokenizer.vocabulary.codes)]
        head_count = {"q_norm": config.num_attention_heads, "k_norm": config.kv_head_count}.get(name.split(".")[-2])
        if head_count is None or head_count % stored.shape[0]:
            return stored
        # One row in 7B. Where a model was trained in several parts, each part's heads share a row.
        return stored.repeat_interleave(head_count // stored.shape[0], dim=0)

    def _check_pixels(self) -> None:
        decoder = self._image_decoder
        if decoder is not None and decoder.config.pixels_per_token != PIXELS_PER_TOKEN:
            raise WorkerError(
                "checkpoint",
                f"The image tokenizer makes {decoder.config.pixels_per_token} x {decoder.config.pixels_per_token} "
                f"pixels of a token, but Lumina-mGPT plans images of {PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN} per "
                f"token. Use the one of Chameleon.",
            )

    def _card(self, dtype: torch.dtype) -> ModelCard:
        code_count = len(self._contents.tokenizer.vocabulary.codes)
        return ModelCard(
            family=NAME,
            name=self._contents.name,
            parameter_count=parameter_count(self._transformer),
            code_count=code_count,
            row_end="token",
            grids=tuple(self._grids),
            conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
            branches=BRANCHES,
            defaults=SamplingDefaults(
                guidance_scale=_DEFAULT_GUIDANCE_SCALE,
                temperature=1.0,
                top_k=_DEFAULT_TOP_K if code_count > _DEFAULT_TOP_K else 0,
                top_p=1.0,
                # A quarter of a row: 12 at 768 pixels, near the 11 that ZipAR's authors use there.
                window=max(1, self._grids[0].columns // 4),
            ),
            image_decoder=ImageDecoderCard(pixels_per_token=PIXELS_PER_TOKEN) if self._image_decoder else None,
            kv_bytes_per_slot=self._kv_shape.bytes_per_slot(dtype),
        )


class LuminaTransformer(nn.Module):
    """Chameleon's decoder and the rows of its head that stand for codes, under the names of the official files."""

    def __init__(self, config: Config, code_count: int) -> None:
        super().__init__()
        self.model = build_backbone(ChameleonModel, decoder_config(config))
        # The library's image tokenizer has no decoder, and no published Lumina-mGPT has weights for it.
        del self.model.vqmodel
        self.lm_head = nn.Linear(config.hidden_size, code_count, bias=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [...], ids of the vocabulary -> [..., dim]"""
        embeddings: Tensor = cast(nn.Embedding, self.model.embed_tokens)(tokens)
        return embeddings

    def forward(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        return run_backbone(self.model, embeddings, positions, attention)


class LuminaMgpt:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        name: str,
        transformer: LuminaTransformer,
        tokenizer: PromptTokenizer,
        grids: list[Grid],
        image_decoder: ChameleonVQDecoder | None,
    ) -> None:
        self._name = name
        self._transformer = transformer
        self._tokenizer = tokenizer
        self._grids = {(grid.rows, grid.columns): grid for grid in grids}
        self._image_decoder = image_decoder
        vocabulary = tokenizer.vocabulary
        self._device = transformer.lm_head.weight.device
        self._ids = torch.tensor([*vocabulary.codes, vocabulary.row_end]).to(self._device)

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        grid = self._grids.get((request.rows, request.columns))
        if grid is None:
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {self._name} makes no grid of {request.rows} x {request.columns} tokens; it makes "
                f"{', '.join(f'{rows} x {columns}' for rows, columns in self._grids)}",
            )
        conditioning = request.conditioning
        if not isinstance(conditioning, TextConditioning):
            raise WorkerError("bad-request", f"encode-prompt: {self._name} needs a text prompt, received a class")
        if conditioning.negative_prompt is not None:
            raise WorkerError("prompt", f"{self._name} takes no negative prompt. Leave it out.")
        conditional = self._tokenizer.conditional(conditioning.prompt, grid.width, grid.height)
        branches = [conditional, self._tokenizer.unconditional(grid.width, grid.height)][: len(request.cache_rows)]
        paddings = [len(conditional) - len(tokens) for tokens in branches]
        padded = [
            [self._tokenizer.vocabulary.padding] * padding + tokens
            for padding, tokens in zip(paddings, branches, strict=True)
        ]
        embeddings = self._transformer.embed(torch.tensor(padded).to(self._device))
        named = zip(BRANCHES, paddings, strict=False)
        return Prompt(
            embeddings, tuple(PromptBranch(name, padding, position_offset=padding) for name, padding in named)
        )

    def embed(self, tokens: Tensor) -> Tensor:
        return self._transformer.embed(self._ids[tokens])

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        hidden: Tensor = self._transformer(embeddings, positions, attention)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._transformer.lm_head(hidden)
        return logits.float()

    def decode_image(self, codes: Tensor) -> Tensor:
        if self._image_decoder is None:
            raise ValueError("this checkpoint has no image tokenizer")
        return self._image_decoder.decode(codes[None])[0].permute(1, 2, 0)


def _grid(width: int, height: int) -> Grid:
    return Grid(rows=height // PIXELS_PER_TOKEN, columns=width // PIXELS_PER_TOKEN, width=width, height=height)
