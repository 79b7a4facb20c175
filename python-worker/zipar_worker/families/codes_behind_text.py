"""Codes whose tokens are the rows of the embedding behind those of a text tokenizer, as in Liquid and SimpleAR."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from zipar_worker.errors import WorkerError


class TextTokenizer(Protocol):
    path: Path
    token_count: int


def count_codes_behind_text(config_path: Path, vocabulary_size: int, tokenizer: TextTokenizer, expected: str) -> int:
    """expected: how many the official files have, and what to do. Raises `checkpoint` where there are none."""
    code_count = vocabulary_size - tokenizer.token_count
    if code_count < 1:
        raise WorkerError(
            "checkpoint",
            f"{config_path} gives the model a vocabulary of {vocabulary_size}, of which the {tokenizer.token_count} "
            f"tokens of {tokenizer.path} leave none for images; expected {expected}",
        )
    return code_count
