"""What Lumina-mGPT is told: its vocabulary by name, its prompts as tokens, and the image sizes that it knows.

Facts: `data/item_processor.py`, `data/convertsation.py` and `inference_solver.py` of Alpha-VLLM/Lumina-mGPT (below
`lumina_mgpt/`), `chameleon/inference/vocab.py` of facebookresearch/chameleon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file
from zipar_worker.errors import WorkerError
from zipar_worker.families.unreadable import lost_by

PIXELS_PER_SIZE_UNIT = 32
"""Width and height are told to the model in units of this many pixels."""

OFFICIAL_TARGETS = (512, 768, 1024)
"""Sides in pixels of the squares that the published checkpoints were trained for."""

MAXIMAL_PROMPT_TOKENS = 512
"""Of the conditional branch, with everything around the user's words. The official demo stops at 1024 characters."""

_MAXIMAL_ASPECT_RATIO = 4
_CODE_NAME = re.compile(r"^IMGIMG([A-J]+)Z$")
_DIGIT_OF_LETTER = str.maketrans("ABCDEFGHIJ", "0123456789")


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


class PromptTokenizer:
    """The checkpoint's own tokenizer. Words of the user never become control tokens, whatever they spell."""

    def __init__(self, path: Path) -> None:
        """path: a file in the format of the `tokenizers` library. Raises `checkpoint`."""
        from tokenizers import Tokenizer

        self.path = path
        content = read_tokenizer_file(path)
        names = _names(path, content)
        self.vocabulary = _vocabulary(path, names)
        # Added tokens that no prompt holds may lie beyond the model's vocabulary, as `<|image|>` does.
        self.largest_id = max(self.vocabulary.largest_id, *content["model"]["vocab"].values())
        # Without its added tokens the tokenizer takes their names for ordinary text.
        try:
            self._plain = Tokenizer.from_str(msgspec.json.encode(content | {"added_tokens": []}).decode())
        except Exception as error:  # The library raises nothing more specific.
            raise WorkerError("checkpoint", f"{path} is no tokenizer that can be used: {error}") from error
        self._plain.no_truncation()
        self._plain.no_padding()
        self.find_lost = lost_by(self._plain)
        unknown = content["model"].get("unk_token")
        added = {token["content"] for token in content.get("added_tokens", [])}
        self._control_names = {
            token: name
            for name, token in names.items()
            if (name in added or _CODE_NAME.match(name)) and name != unknown
        }

    def conditional(self, prompt: str, width: int, height: int) -> list[int]:
        """width, height: in pixels. Raises `prompt` where the model could not be told this."""
        vocabulary = self.vocabulary
        text = f"Generate an image of {width}x{height} according to the following prompt:\n{prompt}"
        words: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        control = next((self._control_names[token] for token in words if token in self._control_names), None)
        if control is not None:
            raise WorkerError("prompt", f"The prompt spells the control token {control!r}. Leave it out.")
        return [vocabulary.begin_text, *words, vocabulary.end_turn, *self.unconditional(width, height)]

    def unconditional(self, width: int, height: int) -> list[int]:
        """The head of an image. The model would draw the two sizes itself; here they are given to it."""
        sizes = (self.vocabulary.sizes[side // PIXELS_PER_SIZE_UNIT] for side in (height, width))
        return [self.vocabulary.begin_image, *sizes]


def read_tokenizer_file(path: Path) -> dict[str, Any]:
    """The JSON object of a tokenizer file with a model and its vocabulary. Raises `checkpoint`."""
    try:
        content = decode_json(read_small_file(path), dict[str, Any])
        msgspec.convert(content, _TokenizerFile)
    except ValueError as error:
        raise WorkerError(
            "checkpoint", f"{path} is no tokenizer file: {error}. Download it again from the checkpoint's repository."
        ) from error
    return content


def code_ids(path: Path, names: Mapping[str, int]) -> tuple[int, ...]:
    """The id of each code, by the names of the image tokens: `IMGIMGBCZ` is code 12. Raises `checkpoint`."""
    ids = {
        int(match[1].translate(_DIGIT_OF_LETTER)): names[name] for name in names if (match := _CODE_NAME.match(name))
    }
    if not ids or sorted(ids) != list(range(len(ids))):
        raise WorkerError(
            "checkpoint",
            f"{path} is not Chameleon's vocabulary: expected image tokens named IMGIMGAZ (code 0), IMGIMGBZ (code 1) "
            f"and so on without a gap, found {len(ids)} such names.",
        )
    return tuple(ids[code] for code in range(len(ids)))


class _TokenizerModel(msgspec.Struct):
    vocab: dict[str, int]
    unk_token: str | None = None


class _AddedToken(msgspec.Struct):
    id: int
    content: str


class _TokenizerFile(msgspec.Struct):
    """The part that is read here; the rest is the library's business."""

    model: _TokenizerModel
    added_tokens: list[_AddedToken] = []


def _names(path: Path, content: dict[str, Any]) -> dict[str, int]:
    names: dict[str, int] = dict(content["model"]["vocab"])
    return names | {token["content"]: token["id"] for token in content.get("added_tokens", [])}


def _vocabulary(path: Path, names: Mapping[str, int]) -> Vocabulary:
    def token(name: str) -> int:
        if name not in names:
            raise WorkerError(
                "checkpoint",
                f"{path} lacks the token {name}, which Lumina-mGPT needs. It is the tokenizer of another model; take "
                f"that of Alpha-VLLM/Lumina-mGPT-7B-768.",
            )
        return names[name]

    sizes = {units: f"<reserved{8800 + units:05d}>" for units in range(1, 1000)}
    return Vocabulary(
        begin_text=token("<s>"),
        end_turn=token("<reserved08706>"),
        begin_image=token("<racm3:break>"),
        row_end=token("<reserved08799>"),
        padding=token("<pad>"),
        codes=code_ids(path, names),
        sizes={units: names[name] for units, name in sizes.items() if name in names},
    )
