"""Whether the configuration, the vocabulary and the weights of an Emu3 or Emu3.5 belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import Checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.emu3.vocabulary import BEGIN, BEGIN_IMAGE, END_ROW, END_SIZE, PADDING, Vocabulary
from zipar_worker.families.llama_config import LlamaConfig

_ID_FIELDS = {
    "pad_token_id": PADDING,
    "bos_token_id": BEGIN,
    "boi_token_id": BEGIN_IMAGE,
    "img_token_id": END_SIZE,
    "eol_token_id": END_ROW,
}


def ids_of_config(fields: Mapping[str, object]) -> dict[str, object]:
    """By the names of special tokens, what a `config.json` with the model type "Emu3" says."""
    return {name: fields[field] for field, name in _ID_FIELDS.items() if field in fields}


def check_ids(path: Path, declared: Mapping[str, object], vocabulary: Vocabulary) -> None:
    """declared: by the names of special tokens, in the file `path`. Raises `checkpoint`."""
    for name, token in declared.items():
        if vocabulary.ids.get(name) != token:
            raise WorkerError(
                "checkpoint",
                f"{path} gives the token {name} the id {token}, {vocabulary.path} the id {vocabulary.ids.get(name)}. "
                f"They do not belong together, or the vocabulary is incomplete: download both for one model.",
            )


def check_vocabulary(
    path: Path, config: LlamaConfig, weights: Checkpoint, keys: KeyMap, vocabulary: Vocabulary
) -> None:
    """path: the file of the configuration. Raises `checkpoint`."""
    # Of this tensor only some rows are loaded, whose count would tell nothing.
    head = keys.key("head.weight")
    shape, expected = weights.shape(head), (config.vocab_size, config.hidden_size)
    if shape != expected:
        raise WorkerError(
            "checkpoint",
            f"{weights.path}: the tensor {head} has the shape {list(shape)}; {path} asks for {list(expected)}. "
            f"They do not belong together: download both from one repository.",
        )
    highest = max(vocabulary.ids.values())
    if highest >= config.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{path} gives the model {config.vocab_size} tokens, but {vocabulary.path} numbers them up to "
            f"{highest}. They do not belong together: download both for one model.",
        )


def check_codebook(path: Path, code_count: int, vocabulary: Vocabulary, repository: str) -> None:
    """path, code_count: of the image tokenizer; repository: that of the right one. Raises `checkpoint`."""
    if code_count != vocabulary.code_count:
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer {path} has {code_count} codes, but {vocabulary.path} has {vocabulary.code_count} "
            f"visual tokens. They do not belong together: use the image tokenizer that the model was trained with, "
            f"{repository}.",
        )
