"""LlamaGen, class-conditional, as the executor sees it.

Image tokens follow each other in raster order without a row-end token; vocabulary and codebook are the same, so codes
are token ids. What a checkpoint is: `llamagen_checkpoint.py`; the transformer: `llamagen_model.py`. Nothing outside
these three and `vq/llamagen.py` knows of the family.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from zipar_worker.attention import Attention
from zipar_worker.checkpoint import load_module_, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.executor_interface import ProgressReporter, PromptBranch
from zipar_worker.families.family import Description, OpenOptions, Prompt
from zipar_worker.families.llamagen_checkpoint import OFFICIAL_PIXELS_PER_TOKEN, Contents, examine, is_official_name
from zipar_worker.families.llamagen_model import PROMPT_LENGTH, LlamaGenConfig, LlamaGenTransformer
from zipar_worker.kv_cache import KvShape
from zipar_worker.linear import pack_linears_
from zipar_worker.protocol import ClassCard, ClassConditioning, EncodePrompt, Grid, ImageDecoderCard, ModelCard
from zipar_worker.vq.llamagen import LlamaGenVQDecoder

NAME = "llamagen"
BRANCHES = ("conditional", "unconditional")


def recognises(path: Path) -> bool:
    """Bare weights are LlamaGen's: the only family whose checkpoints come without a configuration."""
    if path.is_file():
        return True
    return any(is_official_name(file.name) for file in path.iterdir())


def open_checkpoint_directory(path: Path, options: OpenOptions) -> OpenedLlamaGen:
    """Opens a directory or a weights file. Raises `checkpoint`."""
    return OpenedLlamaGen(examine(path, vq_path=options.vq_path, size=options.size))


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
        weight_bytes = {"transformer": _parameter_count(self._transformer) * dtype.itemsize}
        if self._image_decoder is not None:
            weight_bytes["image tokenizer"] = _parameter_count(self._image_decoder) * torch.float32.itemsize
        config = self._contents.config
        return Description(
            card=self._card(dtype),
            kv_shape=self._kv_shape,
            head_count=config.head_count,
            slot_count=PROMPT_LENGTH + config.rows * config.columns,
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
            # Always float32, as in the official code: it runs once per image.
            load_module_(
                self._image_decoder,
                contents.tokenizer.checkpoint,
                dtype=torch.float32,
                device=device,
                report=lambda completed, total: report("load the image tokenizer", completed, total, "bytes"),
                ignored=lambda name: not name.startswith(("decoder.", "post_quant_conv.", "quantize.embedding.")),
            )
        self._transformer.eval()
        return LlamaGen(contents.name, self._transformer, contents.config, self._image_decoder)

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
            parameter_count=_parameter_count(self._transformer),
            code_count=config.vocabulary_size,
            row_end="none",
            grids=(grid,),
            conditioning=ClassCard(class_count=config.class_count, class_names=contents.class_names),
            branches=BRANCHES,
            defaults=contents.defaults,
            image_decoder=ImageDecoderCard(pixels_per_token=pixels_per_token) if tokenizer else None,
            kv_bytes_per_slot=self._kv_shape.bytes_per_slot(dtype),
        )


class LlamaGen:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        name: str,
        transformer: LlamaGenTransformer,
        config: LlamaGenConfig,
        image_decoder: LlamaGenVQDecoder | None,
    ) -> None:
        self._name = name
        self._transformer = transformer
        self._config = config
        self._image_decoder = image_decoder

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        config = self._config
        if (request.rows, request.columns) != (config.rows, config.columns):
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {self._name} makes grids of {config.rows} x {config.columns} tokens, "
                f"received {request.rows} x {request.columns}",
            )
        conditioning = request.conditioning
        if not isinstance(conditioning, ClassConditioning) or conditioning.class_index >= config.class_count:
            raise WorkerError("bad-request", f"encode-prompt: expected a class index in 0..{config.class_count - 1}")
        names = BRANCHES[: len(request.cache_rows)]
        table = self._transformer.cls_embedding.embedding_table.weight
        class_indices = (conditioning.class_index, config.class_count)
        embeddings = torch.stack([table[index] for _, index in zip(names, class_indices, strict=False)])[:, None]
        return Prompt(embeddings, tuple(PromptBranch(name, padding=0, position_offset=0) for name in names))

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


def _parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
