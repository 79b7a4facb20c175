"""Janus and Janus-Pro (deepseek-ai): text to images of one size, by a Llama with a separate path for image tokens.

Image tokens follow each other in raster order without a row-end token. What a checkpoint is: `files.py`; the
transformer: `model.py`; the prompt: `prompt.py`; the image tokenizer is LlamaGen's: `vq/llamagen.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import Attention
from zipar_worker.execute.contract import PromptBranch
from zipar_worker.families.family import OpenedCheckpoint, OpenOptions, Prompt
from zipar_worker.wire.protocol import EncodePrompt, ModelCard, TextConditioning

if TYPE_CHECKING:
    from zipar_worker.families.janus.model import JanusTransformer
    from zipar_worker.families.janus.prompt import JanusTokenizer
    from zipar_worker.families.vq.llamagen import LlamaGenVQDecoder

NAME = "janus"
BRANCHES = ("conditional", "unconditional")
CONFIG_NAME = "config.json"
MODEL_TYPES = ("multi_modality", "janus")
"""Of the native layout (deepseek-ai/Janus-Pro-1B) and of that of transformers (deepseek-community/Janus-Pro-1B)."""


def recognises(path: Path) -> bool:
    """Whether this is a directory whose configuration names one of the two layouts."""
    try:
        config = json.loads((path / CONFIG_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in MODEL_TYPES


def open_checkpoint_directory(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """Reads the configuration and the shapes of the tensors. Raises `checkpoint`."""
    # transformers, which the rest is built on, takes seconds to import: only who opens such a checkpoint waits.
    from zipar_worker.families.janus.files import open_janus

    return open_janus(path, options)


class Janus:
    """A loaded checkpoint; see `Family`."""

    def __init__(
        self,
        card: ModelCard,
        longest_prompt: int,
        tokenizer: JanusTokenizer,
        transformer: JanusTransformer,
        decoder: LlamaGenVQDecoder,
    ) -> None:
        self._card = card
        self._longest_prompt = longest_prompt
        self._tokenizer = tokenizer
        self._transformer = transformer
        self._decoder = decoder

    def encode_prompt(self, request: EncodePrompt) -> Prompt:
        grid = self._card.grids[0]
        if (request.rows, request.columns) != (grid.rows, grid.columns):
            raise WorkerError(
                "bad-request",
                f"encode-prompt: {self._card.name} makes grids of {grid.rows} x {grid.columns} tokens alone, received "
                f"{request.rows} x {request.columns}",
            )
        ids = self._tokenizer.encode(self._prompt_of(request))
        self._check_length(len(ids))
        names = BRANCHES[: len(request.cache_rows)]
        branches = [ids, self._tokenizer.without_condition(ids)][: len(names)]
        device = self._transformer.gen_embed.weight.device
        embeddings = self._transformer.embed_text(torch.tensor(branches).to(device))
        # Both are equally long, and the padding of the unconditional branch is attended to: none of it is left padding.
        return Prompt(embeddings, tuple(PromptBranch(name, padding=0, position_offset=0) for name in names))

    def embed(self, tokens: Tensor) -> Tensor:
        return self._transformer.embed_codes(tokens)

    def transform(self, embeddings: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        hidden: Tensor = self._transformer(embeddings, positions, attention)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        return self._transformer.logits(hidden).float()

    def decode_image(self, codes: Tensor) -> Tensor:
        return self._decoder.decode(codes[None])[0].permute(1, 2, 0)

    def _prompt_of(self, request: EncodePrompt) -> str:
        conditioning = request.conditioning
        if not isinstance(conditioning, TextConditioning):
            raise WorkerError("bad-request", f"encode-prompt: {self._card.name} takes a text prompt, not a class")
        if conditioning.negative_prompt is not None:
            raise WorkerError(
                "prompt",
                f"{self._card.name} takes no negative prompt: its unconditional branch is the prompt's own length in "
                f"padding, as it was trained. Leave the negative prompt out.",
            )
        return conditioning.prompt

    def _check_length(self, token_count: int) -> None:
        if token_count > self._longest_prompt:
            raise WorkerError(
                "prompt",
                f"The prompt has {token_count} tokens with the chat format around it; {self._card.name} takes at most "
                f"{self._longest_prompt}. Shorten it.",
                {"tokens": token_count, "allowed": self._longest_prompt},
            )
