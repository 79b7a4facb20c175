"""LlamaGen, conditioned on classes or on captions, as the executor sees it.

Image tokens follow each other in raster order without a row-end token; vocabulary and codebook are the same, so codes
are token ids. What a checkpoint is: `files.py`, `sidecar.py` and `shapes.py`; the
transformer: `model.py`; classes and captions: `prompt.py`, `text_encoder.py` and
`caption.py`. Nothing outside these files and `vq/llamagen.py` knows of the family.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zipar_worker.checkpoints.checkpoint import load_module_, parameter_count, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.execute.kv_cache import KvShape
from zipar_worker.execute.linear import pack_linears_
from zipar_worker.families.family import Description, OpenOptions, Prompt
from zipar_worker.families.image_decoder import is_beside_decoder, load_image_decoder_
from zipar_worker.families.llamagen.files import OFFICIAL_PIXELS_PER_TOKEN, Contents, examine, is_official_name
from zipar_worker.families.llamagen.model import (
    ClassCondition,
    ClassEmbedding,
    LlamaGenConfig,
    LlamaGenTransformer,
)
from zipar_worker.families.llamagen.prompt import BRANCHES, CaptionPrompts, ClassPrompts, PromptEncoder
from zipar_worker.families.vq.llamagen import LlamaGenVQDecoder
from zipar_worker.wire.protocol import ClassCard, EncodePrompt, Grid, ImageDecoderCard, ModelCard, TextCard

NAME = "llamagen"


def recognises(path: Path) -> bool:
    """Bare weights are LlamaGen's: the only family whose checkpoints come without a configuration."""
    if path.is_file():
        return True
    return any(is_official_name(file.name) for file in path.iterdir())


def open_checkpoint_directory(path: Path, options: OpenOptions) -> OpenedLlamaGen:
    """Opens a directory or a weights file. Raises `checkpoint`."""
    return OpenedLlamaGen(examine(path, options))


class OpenedLlamaGen:
    """An opened checkpoint; see `OpenedCheckpoint`."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        config, tokenizer = contents.config, contents.tokenizer
        self._kv_shape = KvShape(config.layer_count, config.kv_head_count, config.head_dim)
        with without_weights():
            self._transformer = LlamaGenTransformer(config)
            self._image_decoder = LlamaGenVQDecoder(tokenizer.config) if tokenizer is not None else None

    def describe(self, dtype: torch.dtype) -> Description:
        weight_bytes = {"transformer": parameter_count(self._transformer) * dtype.itemsize}
        if self._image_decoder is not None:
            weight_bytes["image tokenizer"] = parameter_count(self._image_decoder) * torch.float32.itemsize
        if self._contents.text_encoder is not None:
            weight_bytes["text encoder"] = self._contents.text_encoder.weight_bytes(dtype)
        config = self._contents.config
        return Description(
            card=self._card(dtype),
            kv_shape=self._kv_shape,
            head_count=config.head_count,
            slot_count=config.condition.length + config.rows * config.columns,
            weight_bytes=weight_bytes,
        )

    def load(self, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> LlamaGen:
        contents = self._contents
        load_module_(
            self._transformer,
            contents.checkpoint,
            dtype=dtype,
            device=device,
            report=lambda completed, total: report("load the transformer", completed, total, "bytes"),
            after_tensor=pack_linears_,
            ignored=lambda name: name == "freqs_cis",
        )
        if contents.tokenizer is not None and self._image_decoder is not None:
            load_image_decoder_(
                self._image_decoder,
                contents.tokenizer.checkpoint,
                device=device,
                report=report,
                ignored=is_beside_decoder,
            )
        self._transformer.eval()
        prompts = self._load_prompts(dtype, device, report)
        return LlamaGen(contents.name, self._transformer, contents.config, prompts, self._image_decoder)

    def _load_prompts(self, dtype: torch.dtype, device: torch.device, report: ProgressReporter) -> PromptEncoder:
        embedding, text_encoder = self._transformer.cls_embedding, self._contents.text_encoder
        if isinstance(embedding, ClassEmbedding):
            return ClassPrompts(embedding)
        assert text_encoder is not None
        length = self._contents.config.condition.length
        return CaptionPrompts(embedding, text_encoder.load(length, dtype=dtype, device=device, report=report))

    def _card(self, dtype: torch.dtype) -> ModelCard:
        contents = self._contents
        config, tokenizer = contents.config, contents.tokenizer
        pixels_per_token = tokenizer.config.pixels_per_token if tokenizer else OFFICIAL_PIXELS_PER_TOKEN
        grid = Grid(
            rows=config.rows,
            columns=config.columns,
            width=config.columns * pixels_per_token,
            height=config.rows * pixels_per_token,
        )
        return ModelCard(
            family=NAME,
            name=contents.name,
            parameter_count=parameter_count(self._transformer),
            code_count=config.vocabulary_size,
            row_end="none",
            grids=(grid,),
            conditioning=self._conditioning_card(),
            branches=BRANCHES,
            defaults=contents.defaults,
            image_decoder=ImageDecoderCard(pixels_per_token=pixels_per_token) if tokenizer else None,
            kv_bytes_per_slot=self._kv_shape.bytes_per_slot(dtype),
        )

    def _conditioning_card(self) -> ClassCard | TextCard:
        condition = self._contents.config.condition
        if isinstance(condition, ClassCondition):
            return ClassCard(class_count=condition.class_count, class_names=self._contents.class_names)
        return TextCard(negative_prompt=None, max_prompt_tokens=condition.length)


class LlamaGen:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        name: str,
        transformer: LlamaGenTransformer,
        config: LlamaGenConfig,
        prompts: PromptEncoder,
        image_decoder: LlamaGenVQDecoder | None,
    ) -> None:
        self._name = name
        self._transformer = transformer
        self._config = config
        self._prompts = prompts
        self._image_decoder = image_decoder

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        config = self._config
        if (request.rows, request.columns) != (config.rows, config.columns):
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {self._name} makes grids of {config.rows} x {config.columns} tokens, "
                f"received {request.rows} x {request.columns}",
            )
        return self._prompts(request.conditioning, len(request.cache_rows))

    def embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self._transformer.tok_embeddings(tokens)
        return embeddings

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        hidden: Tensor = self._transformer(embeddings, positions, attention)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._transformer.output(hidden)
        return logits.float()

    def decode_image(self, codes: Tensor) -> Tensor:
        if self._image_decoder is None:
            raise ValueError("this checkpoint has no image tokenizer")
        return self._image_decoder.decode(codes[None])[0].permute(1, 2, 0)
