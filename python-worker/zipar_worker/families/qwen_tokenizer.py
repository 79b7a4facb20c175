"""The text tokenizer of Qwen2 and its kin in both forms that transformers saves.

The fast one is `tokenizer.json`; the slow one `vocab.json`, `merges.txt` and `added_tokens.json`, which mean the same.
Facts: `tokenization_qwen2.py` and `Qwen2Converter` of transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file, unusable
from zipar_worker.errors import WorkerError
from zipar_worker.families.plain_text import read_tokenizer_file

TOKENIZER_NAME = "tokenizer.json"
VOCABULARY_NAME = "vocab.json"
MERGES_NAME = "merges.txt"
ADDED_NAME = "added_tokens.json"

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_qwen_tokenizer(directory: Path, remedy: str) -> tuple[Path, dict[str, Any]]:
    """The file that names it in messages, and its content in the form of a `tokenizer.json`.

    remedy: what to do where a directory holds neither form. Raises `checkpoint`.
    """
    whole, vocabulary = directory / TOKENIZER_NAME, directory / VOCABULARY_NAME
    if whole.is_file():
        return whole, read_tokenizer_file(whole)
    if vocabulary.is_file():
        return vocabulary, _read_parts(directory)
    raise WorkerError(
        "checkpoint",
        f"{directory} holds neither {TOKENIZER_NAME} nor {VOCABULARY_NAME} with {MERGES_NAME} and {ADDED_NAME}. "
        f"{remedy}",
    )


def _read_parts(directory: Path) -> dict[str, Any]:
    vocabulary, added = (_read_ids(directory / name) for name in (VOCABULARY_NAME, ADDED_NAME))
    merges = _read_merges(directory / MERGES_NAME)
    words = {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False}
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "added_tokens": [
            {"id": token, "content": name, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for name, token in sorted(added.items(), key=lambda item: item[1])
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, letters]},
        "decoder": letters,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


def _read_ids(path: Path) -> dict[str, int]:
    try:
        return decode_json(read_small_file(path), dict[str, int])
    except ValueError as error:
        raise unusable(path, f"expected an object of tokens and their ids: {error}") from error


def _read_merges(path: Path) -> list[tuple[str, str]]:
    """One pair a line, below the line of the version."""
    try:
        lines = read_small_file(path).decode().splitlines()
        return msgspec.convert(
            [line.split() for line in lines if line.strip() and not line.startswith("#version:")],
            list[tuple[str, str]],
        )
    except ValueError as error:
        raise unusable(path, f"expected two parts of a token on each line: {error}") from error
