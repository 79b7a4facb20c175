"""What SimpleAR is told, as tokens, and its text tokenizer: Qwen2.5's with a few control tokens.

Checkpoints hold it as `tokenizer.json`, or as `vocab.json`, `merges.txt` and `added_tokens.json`, which is what the
slow tokenizer of transformers leaves. Facts: `generate.py` and `simpar/train/train.py` of wdrink/SimpleAR, and
`Qwen2Converter` of transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file, unusable
from zipar_worker.errors import WorkerError
from zipar_worker.families.plain_text import PlainText, check_token_names, read_tokenizer_file, token_names

TOKENIZER_NAME = "tokenizer.json"
VOCABULARY_NAME = "vocab.json"
MERGES_NAME = "merges.txt"
ADDED_NAME = "added_tokens.json"

BEGIN_TEXT = "<|t2i|>"
BEGIN_IMAGE = "<|soi|>"
PADDING = "<|endoftext|>"

NEGATIVE_PROMPT = (
    "aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, "
    "bad limbs, distortion"
)
_BEFORE_PROMPT = "A highly realistic image of "
_BEFORE_NEGATIVE = "An image of "

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class SimpleARTokenizer:
    """Token ids of prompts. Ids are those of the files; none is assumed."""

    def __init__(self, directory: Path) -> None:
        """Raises `checkpoint` where files are missing, damaged or lack a token that prompts need."""
        self.path = directory / TOKENIZER_NAME
        if self.path.is_file():
            content = read_tokenizer_file(self.path)
        elif (directory / VOCABULARY_NAME).is_file():
            self.path = directory / VOCABULARY_NAME
            content = _read_parts(directory)
        else:
            raise WorkerError(
                "checkpoint",
                f"{directory} holds neither {TOKENIZER_NAME} nor {VOCABULARY_NAME} with {MERGES_NAME} and "
                f"{ADDED_NAME}. Download them from the repository of the weights, not from Qwen2.5, and put them "
                f"beside the weights, or give their directory with `--text-encoder DIR`.",
            )
        names = token_names(content)
        remedy = "model, such as Qwen2.5 itself: take that of a Daniel0724/SimpleAR checkpoint."
        check_token_names(self.path, names, (BEGIN_TEXT, BEGIN_IMAGE, PADDING), "SimpleAR", remedy)
        if sorted({*names.values()}) != list(range(len(names))):
            raise WorkerError(
                "checkpoint",
                f"{self.path} is damaged: expected its {len(names)} tokens to have the ids 0 to {len(names) - 1}, "
                f"behind which image tokens begin; received ids up to {max(names.values())}. Download it again.",
            )
        self.token_count = len(names)
        self.padding = names[PADDING]
        self._begin, self._begin_image = names[BEGIN_TEXT], names[BEGIN_IMAGE]
        self._words = PlainText(self.path, content, {token["content"] for token in content.get("added_tokens", [])})
        self.find_lost = self._words.find_lost

    def conditional(self, prompt: str) -> list[int]:
        """Raises `prompt` where a word comes out as a control token all the same."""
        return [self._begin, *self._words.encode(_BEFORE_PROMPT + prompt), self._begin_image]

    def unconditional(self, negative_prompt: str) -> list[int]:
        """Raises `prompt`, as above."""
        return [self._begin, *self._words.encode(_BEFORE_NEGATIVE + negative_prompt), self._begin_image]


def _read_parts(directory: Path) -> dict[str, Any]:
    """The three files in the form of one `tokenizer.json`. Raises `checkpoint`."""
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
