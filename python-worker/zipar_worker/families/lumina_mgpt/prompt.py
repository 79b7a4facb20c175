"""What Lumina-mGPT is told: its vocabulary by name, its prompts as tokens, and the image sizes that it knows.

Facts: `data/item_processor.py`, `data/convertsation.py` and `inference_solver.py` of Alpha-VLLM/Lumina-mGPT (below
`lumina_mgpt/`), `chameleon/inference/vocab.py` of facebookresearch/chameleon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from zipar_worker.errors import WorkerError
from zipar_worker.families.plain_text import PlainText, read_tokenizer_file, token_names
from zipar_worker.families.vq.chameleon_files import CODE_NAME, code_ids

PIXELS_PER_SIZE_UNIT = 32
"""Width and height are told to the model in units of this many pixels."""

OFFICIAL_TARGETS = (512, 768, 1024)
"""Sides in pixels of the squares that the published checkpoints were trained for."""

MAXIMAL_PROMPT_TOKENS = 512
"""Of the conditional branch, with everything around the user's words. The official demo stops at 1024 characters."""

_MAXIMAL_ASPECT_RATIO = 4


def known_sizes(target: int) -> list[tuple[int, int]]:
    """(width, height) in pixels that a checkpoint trained for `target` x `target` knows, that square first.

    They are the sizes of about that square's area: those of the official `generate_crop_size_list`, in its order.
    """
    area = (target // PIXELS_PER_SIZE_UNIT) ** 2
    sizes = [
        (across * PIXELS_PER_SIZE_UNIT, down * PIXELS_PER_SIZE_UNIT)
        for across in range(area, 0, -1)
        for down in range(max(area // (across + 1), 1), area // across + 1)
        if max(across, down) <= _MAXIMAL_ASPECT_RATIO * min(across, down)
    ]
    sizes.remove((target, target))
    return [(target, target), *sizes]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token ids by meaning."""

    begin_text: int
    end_turn: int
    begin_image: int
    row_end: int
    padding: int
    codes: tuple[int, ...]
    """The id of each code of the image tokenizer."""
    sizes: Mapping[int, int]
    """The id that tells a width or height of so many units."""

    @property
    def largest_id(self) -> int:
        single = (self.begin_text, self.end_turn, self.begin_image, self.row_end, self.padding)
        return max(*single, *self.codes, *self.sizes.values())


VocabularyOf: TypeAlias = Callable[[Path, Mapping[str, int]], Vocabulary]
"""Reads it from the names of all tokens in a tokenizer file. Raises `checkpoint`."""


class PromptTokenizer:
    """The checkpoint's own tokenizer. Words of the user never become control tokens, whatever they spell."""

    def __init__(self, path: Path, vocabulary_of: VocabularyOf | None = None) -> None:
        """path: a file in the format of the `tokenizers` library; vocabulary_of: Lumina-mGPT's own by default.

        Raises `checkpoint`.
        """
        self.path = path
        content = read_tokenizer_file(path)
        names = token_names(content)
        self.vocabulary = (vocabulary_of or _vocabulary)(path, names)
        # Added tokens that no prompt holds may lie beyond the model's vocabulary, as `<|image|>` does.
        self.largest_id = max(self.vocabulary.largest_id, *content["model"]["vocab"].values())
        added = {token["content"] for token in content.get("added_tokens", [])}
        self._words = PlainText(path, content, {name for name in names if name in added or CODE_NAME.match(name)})
        self.find_lost = self._words.find_lost

    def conditional(self, prompt: str, width: int, height: int) -> list[int]:
        """width, height: in pixels. Raises `prompt` where the model could not be told this."""
        vocabulary = self.vocabulary
        text = f"Generate an image of {width}x{height} according to the following prompt:\n{prompt}"
        return [
            vocabulary.begin_text,
            *self._words.encode(text),
            vocabulary.end_turn,
            *self.unconditional(width, height),
        ]

    def unconditional(self, width: int, height: int) -> list[int]:
        """The head of an image. The model would draw the two sizes itself; here they are given to it."""
        sizes = (self.vocabulary.sizes[side // PIXELS_PER_SIZE_UNIT] for side in (height, width))
        return [self.vocabulary.begin_image, *sizes]


def _vocabulary(path: Path, names: Mapping[str, int]) -> Vocabulary:
    def token(name: str) -> int:
        if name not in names:
            raise WorkerError(
                "checkpoint",
                f"{path} lacks the token {name}, which Lumina-mGPT needs. It is the tokenizer of another model; take "
                f"that of Alpha-VLLM/Lumina-mGPT-7B-768.",
            )
        return names[name]

    return Vocabulary(
        begin_text=token("<s>"),
        end_turn=token("<reserved08706>"),
        begin_image=token("<racm3:break>"),
        row_end=token("<reserved08799>"),
        padding=token("<pad>"),
        codes=code_ids(path, names),
        sizes=size_ids(names),
    )


def size_ids(names: Mapping[str, int]) -> dict[int, int]:
    """The ids of the tokens that tell a width or height, by the units that they tell."""
    sizes = {units: f"<reserved{8800 + units:05d}>" for units in range(1, 1000)}
    return {units: names[name] for units, name in sizes.items() if name in names}
