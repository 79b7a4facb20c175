"""LlamaGen, class-conditional, as the executor sees it.

Image tokens follow each other in raster order without a row-end token; vocabulary and codebook are the same, so codes
are token ids. What a checkpoint is: `llamagen_checkpoint.py`; the transformer: `llamagen_model.py`. Nothing outside
these three and `vq/llamagen.py` knows of the family.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from zipar_worker.checkpoint import load_module_, without_weights
from zipar_worker.devices import check_memory
from zipar_worker.errors import WorkerError
from zipar_worker.executor_interface import ProgressReporter, PromptBranch
from zipar_worker.families.family import Prompt
from zipar_worker.families.llamagen_checkpoint import OFFICIAL_PIXELS_PER_TOKEN, Description, describe
from zipar_worker.families.llamagen_model import PROMPT_LENGTH, LlamaGenConfig, LlamaGenTransformer
from zipar_worker.kv_cache import KvShape, KvStep
from zipar_worker.linear import pack_linears_
from zipar_worker.locality import AttentionBlock
from zipar_worker.protocol import ClassCard, ClassConditioning, EncodePrompt, Grid, ImageDecoderCard, ModelCard
from zipar_worker.vq.llamagen import LlamaGenVQDecoder

BRANCHES = ("conditional", "unconditional")


class LlamaGen:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        transformer: LlamaGenTransformer,
        config: LlamaGenConfig,
        card: ModelCard,
        image_decoder: LlamaGenVQDecoder | None,
    ) -> None:
        self.card = card
        self.slot_count = PROMPT_LENGTH + config.rows * config.columns
        self.kv_shape = KvShape(config.layer_count, config.kv_head_count, config.head_dim)
        self.layer_count = config.layer_count
        self.head_count = config.head_count
        self._transformer = transformer
        self._config = config
        self._image_decoder = image_decoder

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        config = self._config
        if (request.rows, request.columns) != (config.rows, config.columns):
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {self.card.name} makes grids of {config.rows} x {config.columns} tokens, "
                f"received {request.rows} x {request.columns}",
            )
        conditioning = request.conditioning
        if not isinstance(conditioning, ClassConditioning) or conditioning.class_index >= config.class_count:
            raise WorkerError("bad-request", f"encode-prompt: expected a class index in 0..{config.class_count - 1}")
        names = BRANCHES[: len(request.cache_rows)]
        table = self._transformer.cls_embedding.embedding_table.weight
        class_indices = (conditioning.class_index, config.class_count)
        embeddings = torch.stack([table[index] for _, index in zip(names, class_indices, strict=False)])[:, None]
        return Prompt(embeddings, tuple(PromptBranch(name, position_offset=0) for name in names))

    def embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self._transformer.tok_embeddings(tokens)
        return embeddings

    def transform(self, embeddings: Tensor, positions: Tensor, mask: Tensor, cache: KvStep) -> Tensor:
        hidden: Tensor = self._transformer(embeddings, positions, mask, cache)
        return hidden

    def attention_blocks(self, embeddings: Tensor, positions: Tensor, first_visible: int) -> Iterator[AttentionBlock]:
        return self._transformer.attention_blocks(embeddings, positions, first_visible)

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._transformer.output(hidden)
        return logits.float()

    def decode_image(self, codes: Tensor) -> Tensor:
        if self._image_decoder is None:
            raise ValueError("this checkpoint has no image tokenizer")
        return self._image_decoder.decode(codes[None])[0].permute(1, 2, 0)


def load_llamagen(
    path: Path,
    *,
    vq_path: Path | None,
    size: tuple[int, int] | None,
    dtype: torch.dtype,
    device: torch.device,
    report: ProgressReporter,
) -> LlamaGen:
    """Loads a directory or a weights file. Raises `checkpoint`, `out-of-memory`."""
    description = describe(path, vq_path=vq_path, size=size)
    config, tokenizer = description.config, description.tokenizer
    with without_weights():
        transformer = LlamaGenTransformer(config)
        image_decoder = LlamaGenVQDecoder(tokenizer.config) if tokenizer is not None else None
    parameter_count = sum(parameter.numel() for parameter in transformer.parameters())
    check_memory(f"the weights of {description.name}", parameter_count * dtype.itemsize, device)
    load_module_(
        transformer,
        description.checkpoint,
        dtype=dtype,
        device=device,
        report=lambda completed, total: report("load the transformer", completed, total, "bytes"),
        after_tensor=pack_linears_,
        ignored=lambda name: name == "freqs_cis",
    )
    if tokenizer is not None and image_decoder is not None:
        # Always float32, as in the official code: it runs once per image.
        load_module_(
            image_decoder,
            tokenizer.checkpoint,
            dtype=torch.float32,
            device=device,
            report=lambda completed, total: report("load the image tokenizer", completed, total, "bytes"),
            ignored=lambda name: not name.startswith(("decoder.", "post_quant_conv.", "quantize.embedding.")),
        )
    transformer.eval()
    return LlamaGen(transformer, config, model_card(description, parameter_count, dtype), image_decoder)


def model_card(description: Description, parameter_count: int, dtype: torch.dtype) -> ModelCard:
    config, tokenizer = description.config, description.tokenizer
    pixels_per_token = tokenizer.config.pixels_per_token if tokenizer else OFFICIAL_PIXELS_PER_TOKEN
    grid = Grid(
        rows=config.rows,
        columns=config.columns,
        width=config.columns * pixels_per_token,
        height=config.rows * pixels_per_token,
    )
    return ModelCard(
        family="llamagen",
        name=description.name,
        parameter_count=parameter_count,
        code_count=config.vocabulary_size,
        row_end="none",
        grids=(grid,),
        conditioning=ClassCard(class_count=config.class_count, class_names=description.class_names),
        branches=BRANCHES,
        defaults=description.defaults,
        image_decoder=ImageDecoderCard(pixels_per_token=pixels_per_token) if tokenizer else None,
        kv_bytes_per_slot=KvShape(config.layer_count, config.kv_head_count, config.head_dim).bytes_per_slot(dtype),
    )
