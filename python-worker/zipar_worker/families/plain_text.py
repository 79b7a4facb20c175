"""The text tokenizer of a checkpoint, for words of users: they never become control tokens, whatever they spell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from zipar_worker.checkpoints.small_files import decode_json, read_small_file
from zipar_worker.errors import WorkerError
from zipar_worker.families.unreadable import lost_by


class PlainText:
    """A tokenizer without its control tokens, which takes their names for ordinary text."""

    def __init__(self, path: Path, content: dict[str, Any], control: Collection[str]) -> None:
        """content: of the file `path`, see `read_tokenizer_file`; control: names. Raises `checkpoint`."""
        from tokenizers import Tokenizer

        unknown = content["model"].get("unk_token")
        self._control = {token: name for name, token in token_names(content).items() if name in control}
        self._control = {token: name for token, name in self._control.items() if name != unknown}
        text = [token for token in content.get("added_tokens", []) if token["content"] not in control]
        try:
            plain = content | {"added_tokens": text, "post_processor": None}
            self._tokenizer = Tokenizer.from_str(msgspec.json.encode(plain).decode())
        except Exception as error:  # The library raises nothing more specific.
            raise WorkerError("checkpoint", f"{path} is no tokenizer that can be used: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.find_lost = lost_by(self._tokenizer)

    def encode(self, text: str) -> list[int]:
        """Raises `prompt` where a word comes out as a control token all the same."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        control = next((self._control[token] for token in ids if token in self._control), None)
        if control is not None:
            raise WorkerError("prompt", f"The prompt spells the control token {control!r}. Leave it out.")
        return ids


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


def token_names(content: dict[str, Any]) -> dict[str, int]:
    """The ids of all tokens of a tokenizer file by name."""
    names: dict[str, int] = dict(content["model"]["vocab"])
    return names | {token["content"]: token["id"] for token in content.get("added_tokens", [])}


def check_token_names(path: Path, names: Collection[str], needed: Iterable[str], model: str, remedy: str) -> None:
    """Raises `checkpoint` where a tokenizer file lacks tokens that prompts of `model` need."""
    missing = [name for name in needed if name not in names]
    if missing:
        raise WorkerError(
            "checkpoint",
            f"{path} lacks the tokens {', '.join(missing)} that prompts of {model} need. It belongs to another "
            f"{remedy}",
        )


class _TokenizerModel(msgspec.Struct):
    vocab: dict[str, int]
    unk_token: str | None = None


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _TokenizerFile(msgspec.Struct):
    """The part that is read here; the rest is the library's business."""

    model: _TokenizerModel
    added_tokens: list[_AddedToken] = []
