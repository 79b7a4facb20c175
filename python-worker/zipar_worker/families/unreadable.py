"""What of a text a tokenizer cannot read: characters that its vocabulary does not have.

A model is told nothing of them, or that something unknown stood there, and paints whatever it likes. Tokenizers that
spell unknown characters in bytes lose nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from zipar_worker.errors import WorkerError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_LISTED = 12
_WORD = re.compile(r"\w+")

_WORD_START = "\u2581"
"""SentencePiece's mark, which stands for no character but is given the place of the first one after it."""

_ALPHABETS = (range(0x3B1, 0x3CA), range(0x430, 0x450), range(0x5D0, 0x5EB), range(0x627, 0x64B))
"""Greek, Cyrillic, Hebrew and Arabic letters: T5, for one, has 13 of the 32 Cyrillic ones, and none of the others."""

FindLost = Callable[[str], Sequence[int]]
"""The places of the characters of a text that are lost."""


def reads_everything(text: str) -> Sequence[int]:
    """The `FindLost` of tokenizers made of bytes."""
    return ()


def lost_by(tokenizer: Tokenizer) -> FindLost:
    """By what a tokenizer makes of a text: a character is lost that no token stands for but the unknown one.

    So are all letters of an alphabet that it mostly lacks: what is left of a word are letters without meaning.
    """
    unknown = _unknown_id(tokenizer)

    def encode(text: str) -> Encoding:
        return tokenizer.encode(text, add_special_tokens=False)

    def read(text: str) -> set[int]:
        if unknown is None:
            # The library counts places by what is left, so that one character that is left out shifts the others.
            return {place for place, character in enumerate(text) if {*encode(character).tokens} - {_WORD_START}}
        encoding = encode(text)
        kept: set[int] = set()
        for token, piece, (first, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
            if token != unknown and piece != _WORD_START:
                kept.update(range(first, end))
        return kept

    def unread(text: str) -> list[int]:
        kept = read(text)
        return [place for place, character in enumerate(text) if place not in kept and _is_seen(character)]

    @cache
    def lacks_alphabet(letters: range) -> bool:
        return 2 * len(unread(" ".join(map(chr, letters)))) > len(letters)

    def find(text: str) -> Sequence[int]:
        lost = set(unread(text))
        foreign = [letters for letters in _ALPHABETS if lacks_alphabet(letters)]
        lost.update(
            place
            for place, character in enumerate(text)
            if any(ord(character.lower()) in letters for letters in foreign)
        )
        return sorted(lost)

    return find


def warn_of_unreadable(name: str, text: str, find_lost: FindLost) -> tuple[str, ...]:
    """A sentence where a part of a text is lost. Raises `prompt` where no word of it is read as it stands.

    name: of the text, e.g. "prompt".
    """
    lost = set(find_lost(text))
    if not lost:
        return ()
    characters = _listed([text[place] for place in sorted(lost)])
    if not any(lost.isdisjoint(range(*word.span())) for word in _WORD.finditer(text)):
        raise WorkerError(
            "prompt",
            f"The {name} {text[:80]!r} cannot be read: the model's vocabulary lacks {characters}, and no word is "
            f"whole. Describe the image in a language that the model was trained on, such as English.",
            {"lostCharacters": characters},
        )
    return (f"the {name} is read without {characters}, which the model's vocabulary lacks",)


def _is_seen(character: str) -> bool:
    """Not white space, nor what only joins, directs or varies others."""
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf", "Mn", "Me")


def _listed(characters: Sequence[str]) -> str:
    found = list(dict.fromkeys(characters))
    shown = ", ".join(f'"{character}"' for character in found[:_LISTED])
    return f"{shown} and {len(found) - _LISTED} more" if len(found) > _LISTED else shown


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """None where the tokenizer has no token for the unknown: then it leaves out what it does not know."""
    model = json.loads(tokenizer.to_str())["model"]
    if "unk_id" in model:  # unigrams
        unknown: int | None = model["unk_id"]
        return unknown
    name = model.get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)
