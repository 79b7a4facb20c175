"""What Anole is told, as tokens.

The user's words, the token that ends a turn, and the token that begins an image. The official code has three branches:
all of it, its images alone, and nothing. A prompt without images makes the second the same as the third, whose weight
(1.2 times nothing) then falls away. Facts: `text2image.py` and `chameleon/inference/chameleon.py`, `vocab.py` of
GAIR-NLP/anole.
"""

from __future__ import annotations

from pathlib import Path

from zipar_worker.families.plain_text import PlainText, check_token_names, read_tokenizer_file, token_names
from zipar_worker.families.vq.chameleon_files import CODE_NAME, code_ids

_REQUIRED = ("<s>", "<pad>", "<racm3:break>", "<reserved08706>")


class AnoleTokenizer:
    """Token ids of prompts and of the codes of images. Ids are those of the file; none is assumed."""

    def __init__(self, path: Path) -> None:
        """path: `text_tokenizer.json` of Meta or `tokenizer.json`. Raises `checkpoint`."""
        content = read_tokenizer_file(path)
        names = token_names(content)
        check_token_names(path, names, _REQUIRED, "Anole", "model: take the tokenizer of GAIR/Anole-7b-v0.1.")
        self.path = path
        self.codes = code_ids(path, names)
        self.greatest_id = max(names.values())
        self._begin, self.padding, self._begin_image, self._end_turn = (names[name] for name in _REQUIRED)
        added = {token["content"] for token in content.get("added_tokens", [])}
        control = {name for name in names if name in added or CODE_NAME.match(name) or name in _REQUIRED}
        self._words = PlainText(path, content, control)
        self.find_lost = self._words.find_lost

    def conditional(self, prompt: str) -> list[int]:
        """Raises `prompt`."""
        return [self._begin, *self._words.encode(prompt), self._end_turn, self._begin_image]

    def unconditional(self) -> list[int]:
        return [self._begin, self._begin_image]
