"""A prompt in the chat format of Qwen2.5-VL, and the token that begins an image.

The unconditional branch is as long: padding stands for all but the first token and the last four, and is attended to.
What a user types is always text: the official code would send control tokens that are spelt in it.

Facts: `generate_images` in `star/models/model.py` of MM-MVR/STAR, and the chat template of Qwen2.5-VL.
"""

from __future__ import annotations

from pathlib import Path

from zipar_worker.families.plain_text import PlainText, check_token_names, read_tokenizer_file, token_names

TOKENIZER_NAME = "tokenizer.json"

BEGIN_TURN = "<|im_start|>"
END_TURN = "<|im_end|>"
BEGIN_IMAGE = "<|vision_start|>"
PADDING = "<|fim_pad|>"

_KEPT_AT_THE_END = 4


class StarTokenizer:
    """Token ids of prompts. Ids are those of the file; none is assumed."""

    def __init__(self, path: Path) -> None:
        """path: a `tokenizer.json`. Raises `checkpoint`."""
        self.path = path
        content = read_tokenizer_file(path)
        names = token_names(content)
        remedy = "model: take that of Qwen/Qwen2.5-VL-7B-Instruct."
        check_token_names(path, names, (BEGIN_TURN, END_TURN, BEGIN_IMAGE, PADDING), "STAR", remedy)
        self._text = PlainText(path, content, {token["content"] for token in content.get("added_tokens", [])})
        self._ids = names
        self.find_lost = self._text.find_lost
        self.padding = names[PADDING]
        self.largest_id = max(names.values())

    def conditional(self, prompt: str) -> list[int]:
        """Raises `prompt` where a word comes out as a control token all the same."""
        begin, end = self._ids[BEGIN_TURN], self._ids[END_TURN]
        ids: list[int] = []
        for turn in ("system\nYou are a helpful assistant.", f"user\n{prompt}"):
            ids += [begin, *self._text.encode(turn), end, *self._text.encode("\n")]
        return [*ids, begin, *self._text.encode("assistant\n"), self._ids[BEGIN_IMAGE]]

    def without_condition(self, ids: list[int]) -> list[int]:
        """Ids of the unconditional branch."""
        return [ids[0], *[self.padding] * (len(ids) - 1 - _KEPT_AT_THE_END), *ids[-_KEPT_AT_THE_END:]]
