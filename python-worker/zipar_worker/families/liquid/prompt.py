"""What Liquid is told, as tokens.

A sentence is put behind the user's words, then the token that begins an image; the unconditional branch has a token of
its own in their place. Facts: `evaluation/inference_t2i.py` and TRAIN.md of FoundationVision/Liquid.
"""

from __future__ import annotations

import re
from pathlib import Path

from zipar_worker.errors import WorkerError
from zipar_worker.families.plain_text import PlainText, check_token_names, read_tokenizer_file, token_names

TOKENIZER_NAME = "tokenizer.json"
BEGIN_TEXT = "<bos>"
PADDING = "<pad>"
BEGIN_IMAGE = "<boi>"
UNCONDITIONAL = "<unconditional>"

_INSTRUCTION = " Generate an image based on this description."
_CONTROL = re.compile(
    r"<(pad|eos|bos|unk|mask|2mass|start_of_turn|end_of_turn|boi|eoi|unconditional|unused\d+)>|\[@BOS@\]"
)
"""Gemma's and Liquid's, however the file marks them. Its other added tokens, white space and tags of HTML, are text."""


class LiquidTokenizer:
    """Token ids of prompts. Ids are those of the file; none is assumed."""

    def __init__(self, path: Path) -> None:
        """path: a `tokenizer.json`. Raises `checkpoint` where it is damaged or lacks a token that prompts need."""
        content = read_tokenizer_file(path)
        names = token_names(content)
        remedy = f"model, such as Gemma itself: take the {TOKENIZER_NAME} of Junfeng5/Liquid_V1_7B."
        check_token_names(path, names, (BEGIN_TEXT, PADDING, BEGIN_IMAGE, UNCONDITIONAL), "Liquid", remedy)
        if sorted({*names.values()}) != list(range(len(names))):
            raise WorkerError(
                "checkpoint",
                f"{path} is damaged: expected its {len(names)} tokens to have the ids 0 to {len(names) - 1}, behind "
                f"which image tokens begin; received ids up to {max(names.values())}. Download it again.",
            )
        self.path = path
        self.token_count = len(names)
        self.padding = names[PADDING]
        self._begin = names[BEGIN_TEXT]
        self._unconditional = [names[BEGIN_TEXT], names[UNCONDITIONAL], names[BEGIN_IMAGE]]
        special = {token["content"] for token in content.get("added_tokens", []) if token.get("special")}
        self._words = PlainText(path, content, {name for name in names if name in special or _CONTROL.fullmatch(name)})
        self.find_lost = self._words.find_lost

    def conditional(self, prompt: str) -> list[int]:
        """Raises `prompt`."""
        return [self._begin, *self._words.encode(prompt + _INSTRUCTION), self._unconditional[-1]]

    def unconditional(self) -> list[int]:
        return list(self._unconditional)
