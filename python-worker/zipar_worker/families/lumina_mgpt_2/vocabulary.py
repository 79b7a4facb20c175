"""The token ids of Lumina-mGPT 2.0 by meaning. Its prompts are Lumina-mGPT's (`lumina_mgpt/prompt.py`).

Facts: `lumina_mgpt/data/item_processor.py`, `lumina_mgpt/inference_solver.py` and `xllmx/model/tokenizer.py` of
Alpha-VLLM/Lumina-mGPT-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zipar_worker.checkpoints.small_files import read_json, unusable
from zipar_worker.errors import WorkerError
from zipar_worker.families.lumina_mgpt.prompt import PromptTokenizer, Vocabulary, size_ids

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"

FIRST_CODE = 155000
MAXIMAL_CODE_COUNT = 16384
"""Codes are told by their ids alone, 155000 to 171383, which the official code has as numbers."""


def read_tokenizer(directory: Path, vocabulary_size: int) -> PromptTokenizer:
    """vocabulary_size: of the model, more than `FIRST_CODE`. Raises `checkpoint`."""
    return PromptTokenizer(
        directory / TOKENIZER_NAME,
        lambda path, names: _vocabulary(path, names, _begin_text(directory / TOKENIZER_CONFIG_NAME), vocabulary_size),
    )


def _vocabulary(path: Path, names: Mapping[str, int], begin_text: str, vocabulary_size: int) -> Vocabulary:
    def token(name: str) -> int:
        if name not in names:
            raise WorkerError(
                "checkpoint",
                f"{path} lacks the token {name}, which Lumina-mGPT 2.0 needs. It is the tokenizer of another model; "
                f"take that of Alpha-VLLM/Lumina-mGPT-2.0.",
            )
        return names[name]

    return Vocabulary(
        begin_text=token(begin_text),
        end_turn=token("<reserved08706>"),
        begin_image=token("<racm3:break>"),
        row_end=token("<reserved08799>"),
        padding=token(begin_text),
        codes=tuple(range(FIRST_CODE, min(FIRST_CODE + MAXIMAL_CODE_COUNT, vocabulary_size))),
        sizes=size_ids(names),
    )


def _begin_text(path: Path) -> str:
    """The token before every prompt: the tokenizer's first, or its last where it has none, as Qwen's."""
    fields = read_json(path)
    for field in ("bos_token", "eos_token"):
        token: Any = fields.get(field)
        name = token.get("content") if isinstance(token, dict) else token
        if isinstance(name, str):
            return name
    raise unusable(path, "it names neither a bos_token nor an eos_token, one of which begins every prompt")
