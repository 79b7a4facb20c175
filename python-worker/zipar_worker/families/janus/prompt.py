"""A prompt in Janus' chat format.

One turn of the "deepseek" format of `janus/utils/conversation.py` between the roles that Janus-Pro was trained with
(README.md and demo/app_januspro.py of deepseek-ai/Janus; `generation_inference.py` there still has those of the first
Janus), stripped, with the image start tag behind it and the beginning-of-sequence token that the tokenizer puts in
front. The unconditional branch is the same sequence with padding for everything but the first and the last token.

The official code tokenises the finished text, so that a user who types `<begin_of_image>` sends that token. Here what
the user types is always plain text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zipar_worker.checkpoints.small_files import read_small_file
from zipar_worker.errors import WorkerError
from zipar_worker.families.unreadable import lost_by

TOKENIZER_NAME = "tokenizer.json"

# DeepSeek writes these with a full-width bar and a lower block.
BEGIN_OF_SENTENCE = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
END_OF_SENTENCE = "<\uff5cend\u2581of\u2581sentence\uff5c>"
PADDING = "<\uff5c\u2581pad\u2581\uff5c>"
BEGIN_OF_IMAGE = "<begin_of_image>"
END_OF_IMAGE = "<end_of_image>"
IMAGE_PLACEHOLDER = "<image_placeholder>"
USER = "<|User|>"
ASSISTANT = "<|Assistant|>"

_REQUIRED = (BEGIN_OF_SENTENCE, PADDING, BEGIN_OF_IMAGE)
_CONTROL = (*_REQUIRED, END_OF_SENTENCE, END_OF_IMAGE, IMAGE_PLACEHOLDER, USER, ASSISTANT)
"""Tokens that are no text, however the file marks them. Added letters such as a lone umlaut remain text."""


class JanusTokenizer:
    """Token ids of prompts. Ids are those of the file; none is assumed."""

    def __init__(self, path: Path) -> None:
        """path: a `tokenizer.json`. Raises `checkpoint` where it is damaged or lacks a token that prompts need."""
        from tokenizers import Tokenizer

        content = _read(path)
        added: list[dict[str, Any]] = content.get("added_tokens", [])
        control = [token for token in added if token["special"] or token["content"] in _CONTROL]
        self._control = {token["content"]: int(token["id"]) for token in control}
        missing = [name for name in _REQUIRED if name not in self._control]
        if missing:
            raise WorkerError(
                "checkpoint",
                f"{path} lacks the special tokens {', '.join(missing)} that prompts of Janus need. It belongs to "
                f"another model: take the {TOKENIZER_NAME} of the checkpoint's own repository.",
            )
        self.padding = self._control[PADDING]
        # Without the control tokens, their spellings are text like any other.
        text = [token for token in added if token not in control]
        self._text = Tokenizer.from_str(json.dumps(content | {"added_tokens": text, "post_processor": None}))
        self._text.no_truncation()
        self._text.no_padding()
        self.find_lost = lost_by(self._text)
        self.greatest_id = max([*self._control.values(), *self._text.get_vocab().values()])

    def encode(self, prompt: str) -> list[int]:
        """Ids of the conditional branch, from the beginning of the sequence to the beginning of the image."""
        message = prompt.strip()
        ids = [self._control[BEGIN_OF_SENTENCE]]
        pending = ""
        # An empty turn has neither the space nor the blank line.
        turns = ((USER, f": {message}\n\n" if message else ":"), (ASSISTANT, ":"))
        for role, text in turns:
            if role in self._control:
                ids += [*self._encode_text(pending), self._control[role]]
                pending = text
            else:
                pending += role + text
        return [*ids, *self._encode_text(pending), self._control[BEGIN_OF_IMAGE]]

    def without_condition(self, ids: list[int]) -> list[int]:
        """Ids of the unconditional branch: as long, and its padding is attended to."""
        return [ids[0], *[self.padding] * (len(ids) - 2), ids[-1]]

    def _encode_text(self, text: str) -> list[int]:
        return list(self._text.encode(text, add_special_tokens=False).ids)


def _read(path: Path) -> dict[str, Any]:
    """The file's JSON, once it is known to be a tokenizer."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise WorkerError(
            "checkpoint",
            f"The tokenizer file {path} is missing. Download {TOKENIZER_NAME} from the checkpoint's repository and put "
            f"it beside the weights, or give the directory that holds it.",
        )
    try:
        text = read_small_file(path).decode()
        Tokenizer.from_str(text)
        content: dict[str, Any] = json.loads(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise WorkerError(
            "checkpoint",
            f"{path} cannot be read as a tokenizer ({path.stat().st_size} bytes): it is damaged, was not downloaded "
            f"completely, or is of another kind. Download it again.",
            {"reason": str(error)[:300]},
        ) from error
    return content
