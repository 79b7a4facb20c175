"""Emu3's vocabulary in both published forms, and the prompt that is written in it.

`emu3.tiktoken` with `emu3_vision_tokens.txt` (the original checkpoints) and `tokenizer.json` (the `-hf` checkpoints)
hold the same ids, but split text differently, each as its own official code does. Facts: `image_generation.py`,
`emu3/mllm/tokenization_emu3.py` and `emu3/mllm/processing_emu3.py` of baaivision/Emu3 (Apache-2.0),
`processing_emu3.py` of transformers.

A user's text is only ever encoded as text: what looks like a special token in it is spelled out.
"""

from __future__ import annotations

import unicodedata
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file
from zipar_worker.errors import WorkerError
from zipar_worker.families.unreadable import FindLost, lost_by, reads_everything

TIKTOKEN_NAME = "emu3.tiktoken"
VISION_TOKENS_NAME = "emu3_vision_tokens.txt"
TOKENIZER_JSON_NAME = "tokenizer.json"

PADDING = "<|endoftext|>"
BEGIN = "<|extra_203|>"
BEGIN_IMAGE = "<|image start|>"
END_SIZE = "<|image token|>"
END_ROW = "<|extra_200|>"
SPECIAL_NAMES = (PADDING, BEGIN, BEGIN_IMAGE, END_SIZE, END_ROW)

POSITIVE_SUFFIX = " masterpiece, film grained, best quality."
NEGATIVE_PROMPT = (
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, worst quality, "
    "low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry."
)

TEXT_SPECIAL_NAMES = (PADDING, "<|im_start|>", "<|im_end|>", *(f"<|extra_{index}|>" for index in range(205)))
"""The special tokens that follow the ordinary ones; those of `emu3_vision_tokens.txt` come after them."""

_SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    path: Path
    encode_text: Callable[[str], list[int]]
    ids: Mapping[str, int]
    """Of the special tokens."""
    first_code: int
    """Id of code 0; the others follow it."""
    code_count: int
    find_lost: FindLost

    def encode_prompt(self, text: str, rows: int, columns: int) -> list[int]:
        """The ids of a prompt for an image of so many tokens, up to where the image begins."""
        return [
            self.ids[BEGIN],
            *self.encode_text(text),
            self.ids[BEGIN_IMAGE],
            *self.encode_text(f"{rows}*{columns}"),
            self.ids[END_SIZE],
        ]


def code_name(code: int) -> str:
    return f"<|visual token {code:06d}|>"


def read_tiktoken(directory: Path) -> Vocabulary:
    """Raises `checkpoint` where a file is missing or is no vocabulary of Emu3's."""
    import tiktoken

    path = directory / TIKTOKEN_NAME
    ranks = _read_ranks(path)
    vision_path = directory / VISION_TOKENS_NAME
    lines = _read(vision_path).decode(errors="replace").splitlines()
    names = (*TEXT_SPECIAL_NAMES, *(line.strip() for line in lines if line.strip()))
    ids = {name: len(ranks) + index for index, name in enumerate(names)}
    encoding = tiktoken.Encoding("Emu3", pat_str=_SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})

    def encode_text(text: str) -> list[int]:
        return encoding.encode_ordinary(unicodedata.normalize("NFC", text))

    return _vocabulary(vision_path, encode_text, ids, reads_everything)


def read_tokenizer_json(directory: Path) -> Vocabulary:
    """Raises `checkpoint` where the file is missing or is no vocabulary of Emu3's."""
    from tokenizers import Tokenizer

    path = directory / TOKENIZER_JSON_NAME
    try:
        content = decode_json(_read(path), dict[str, object])
        added = msgspec.convert(content.get("added_tokens"), list[_AddedToken])
        # Without them the tokenizer knows no special tokens that it could find in a text.
        ordinary = content | {"added_tokens": [], "post_processor": None, "padding": None, "truncation": None}
        tokenizer = Tokenizer.from_str(msgspec.json.encode(ordinary).decode())
    # The library raises bare `Exception`s.
    except WorkerError:
        raise
    except Exception as error:
        raise WorkerError(
            "checkpoint", f"{path} cannot be read as a tokenizer: {error}. Download it again from the -hf repository."
        ) from error

    def encode_text(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return _vocabulary(path, encode_text, {token.content: token.id for token in added}, lost_by(tokenizer))


class _AddedToken(msgspec.Struct):
    id: int
    content: str


def _read_ranks(path: Path) -> dict[bytes, int]:
    """One token a line: base64 of its bytes, and its rank, which is its id."""
    try:
        pairs = (line.split() for line in _read(path).splitlines() if line)
        ranks = {b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except ValueError as error:
        raise _no_ranks(path, str(error)) from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise _no_ranks(path, "the ranks are not 0, 1, 2 and so on")
    if not all(bytes((value,)) in ranks for value in range(256)):
        raise _no_ranks(path, "not every byte has a token")
    return ranks


def _vocabulary(
    path: Path, encode_text: Callable[[str], list[int]], ids: Mapping[str, int], find_lost: FindLost
) -> Vocabulary:
    missing = [name for name in (*SPECIAL_NAMES, code_name(0), code_name(1)) if name not in ids]
    if missing:
        raise WorkerError(
            "checkpoint",
            f"{path} does not name the special tokens {', '.join(missing)}. It is not the vocabulary of an Emu3 model "
            f"that makes images, or it is incomplete: download it again.",
        )
    first_code, code_count = ids[code_name(0)], 0
    while ids.get(code_name(code_count)) == first_code + code_count:
        code_count += 1
    named = sum(name.startswith("<|visual token ") for name in ids)
    if named != code_count:
        raise WorkerError(
            "checkpoint",
            f"{path} names {named} visual tokens, of which only the first {code_count} have consecutive ids. The file "
            f"is damaged: download it again.",
        )
    return Vocabulary(path, encode_text, ids, first_code, code_count, find_lost)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise WorkerError(
            "checkpoint",
            f"The tokenizer file {path} is missing. Download it from the same repository as the weights, into the "
            f"same directory: {TIKTOKEN_NAME} and {VISION_TOKENS_NAME} for the original checkpoint, "
            f"{TOKENIZER_JSON_NAME} for the -hf one.",
        )
    return read_small_file(path)


def _no_ranks(path: Path, reason: str) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{path} cannot be read as a tiktoken vocabulary ({reason}): expected a base64 token and its rank on every "
        f"line. Download it again.",
    )
