"""What SimpleAR is told, as tokens, and its text tokenizer: Qwen2.5's with a few control tokens.

Facts: `generate.py` and `simpar/train/train.py` of wdrink/SimpleAR.
"""

from __future__ import annotations

from pathlib import Path

from zipar_worker.errors import WorkerError
from zipar_worker.families.plain_text import PlainText, check_token_names, token_names
from zipar_worker.families.qwen_tokenizer import read_qwen_tokenizer

BEGIN_TEXT = "<|t2i|>"
BEGIN_IMAGE = "<|soi|>"
PADDING = "<|endoftext|>"

NEGATIVE_PROMPT = (
    "aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, "
    "bad limbs, distortion"
)
_BEFORE_PROMPT = "A highly realistic image of "
_BEFORE_NEGATIVE = "An image of "


class SimpleARTokenizer:
    """Token ids of prompts. Ids are those of the files; none is assumed."""

    def __init__(self, directory: Path) -> None:
        """Raises `checkpoint` where files are missing, damaged or lack a token that prompts need."""
        self.path, content = read_qwen_tokenizer(
            directory,
            "Download them from the repository of the weights, not from Qwen2.5, and put them beside the weights, or "
            "give their directory with `--text-encoder DIR`.",
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
