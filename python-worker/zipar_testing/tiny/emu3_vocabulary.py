"""A tiny but real vocabulary of Emu3's: every byte, the words of the family's own prompts, all special tokens."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from zipar_worker.families.emu3.vocabulary import (
    BEGIN,
    BEGIN_IMAGE,
    END_SIZE,
    NEGATIVE_PROMPT,
    PADDING,
    POSITIVE_SUFFIX,
    TEXT_SPECIAL_NAMES,
    TIKTOKEN_NAME,
    TOKENIZER_JSON_NAME,
    VISION_TOKENS_NAME,
    code_name,
)

END, END_IMAGE, END_FRAME = "<|extra_204|>", "<|image end|>", "<|extra_201|>"

_IMAGE_PLACEHOLDER = "<image>"
"""What the conversion for transformers calls `<|extra_0|>`."""


@dataclass(frozen=True, slots=True)
class TinyVocabulary:
    """ranks: by the bytes of a token; merges: the two tokens that each longer one is made of, in the order of ranks."""

    ranks: Mapping[bytes, int]
    merges: tuple[tuple[bytes, bytes], ...]
    vision_names: tuple[str, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Of the special tokens."""
        names = (*TEXT_SPECIAL_NAMES, *self.vision_names)
        return {name: len(self.ranks) + index for index, name in enumerate(names)}

    @property
    def size(self) -> int:
        return len(self.ranks) + len(TEXT_SPECIAL_NAMES) + len(self.vision_names)


def tiny_vocabulary(code_count: int) -> TinyVocabulary:
    ranks = {bytes((value,)): value for value in range(256)}
    merges: list[tuple[bytes, bytes]] = []
    words = re.findall(r" ?\w+", f"{POSITIVE_SUFFIX} {NEGATIVE_PROMPT} a the of café")
    for word in (word.encode() for word in words):
        for token in (word[:end] for end in range(2, len(word) + 1)):
            parts = _merged(token, ranks)
            if len(parts) == 2:
                ranks[token] = len(ranks)
                merges.append((parts[0], parts[1]))
    codes = tuple(code_name(code) for code in range(code_count))
    return TinyVocabulary(ranks, tuple(merges), (END_SIZE, BEGIN_IMAGE, END_IMAGE, *codes))


def _merged(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """What byte-pair encoding makes of a token without its own rank: the lowest-ranked pairs are merged first."""
    parts = [bytes((value,)) for value in token]
    while True:
        candidates = [
            (ranks[left + right], index) for index, (left, right) in enumerate(pairwise(parts)) if left + right in ranks
        ]
        if not candidates:
            return parts
        _, index = min(candidates)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]


def write_tiktoken(out: Path, vocabulary: TinyVocabulary) -> None:
    lines = (f"{b64encode(token).decode()} {rank}\n" for token, rank in vocabulary.ranks.items())
    (out / TIKTOKEN_NAME).write_text("".join(lines))
    (out / VISION_TOKENS_NAME).write_text("".join(f"{name}\n" for name in vocabulary.vision_names))


def write_tokenizer_json(out: Path, vocabulary: TinyVocabulary) -> None:
    named = {"bos_token": BEGIN, "eos_token": END, "pad_token": PADDING}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(
        out / TOKENIZER_JSON_NAME,
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": token,
                    "content": name,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for name, token in _converted_ids(vocabulary).items()
            ],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": token_ids(vocabulary),
                "merges": [" ".join(map(_printable, pair)) for pair in vocabulary.merges],
            },
        },
    )
    write_json(out / "special_tokens_map.json", named)
    write_json(
        out / "tokenizer_config.json",
        {
            **named,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "extra_special_tokens": {
                "image_token": _IMAGE_PLACEHOLDER,
                "boi_token": BEGIN_IMAGE,
                "eoi_token": END_IMAGE,
                "image_wrapper_token": END_SIZE,
                "eof_token": END_FRAME,
            },
            "processor_class": "Emu3Processor",
            "tokenizer_class": "GPT2Tokenizer",
        },
    )


def token_ids(vocabulary: TinyVocabulary) -> dict[str, int]:
    ordinary = {_printable(token): rank for token, rank in vocabulary.ranks.items()}
    return {**ordinary, **_converted_ids(vocabulary)}


def _converted_ids(vocabulary: TinyVocabulary) -> dict[str, int]:
    ids = vocabulary.ids
    return {_IMAGE_PLACEHOLDER if name == "<|extra_0|>" else name: token for name, token in ids.items()}


def _printable(token: bytes) -> str:
    """Bytes as GPT-2's vocabulary spells them: those that do not print are moved behind the first 256 characters."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [value for value in range(256) if value not in kept]
    return "".join(chr(value if value in kept else 256 + moved.index(value)) for value in token)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
