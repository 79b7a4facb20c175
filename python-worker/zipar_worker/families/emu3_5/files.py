"""Which files an Emu3.5 checkpoint consists of: `BAAI/Emu3.5-Image` or `BAAI/Emu3.5`, the image tokenizer
`BAAI/Emu3.5-VisionTokenizer`, and the text tokenizer, which is in the repository of the code alone.

Facts: `src/emu3p5/configuration_emu3.py`, `src/utils/model_utils.py` and `src/vision_tokenizer/__init__.py` of
baaivision/Emu3.5 (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.checkpoints.small_files import model_type_of, read_json
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.belonging import check_codebook, check_ids, check_vocabulary, ids_of_config
from zipar_worker.families.emu3.files import DEFAULTS as EMU3_DEFAULTS
from zipar_worker.families.emu3.files import ORIGINAL_MODEL_TYPE
from zipar_worker.families.emu3.vocabulary import TIKTOKEN_NAME, VISION_TOKENS_NAME, Vocabulary, read_tiktoken
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.vq.chameleon_config import check_vq_claims, read_vq_config
from zipar_worker.families.vq.chameleon_files import ImageTokenizer
from zipar_worker.families.vq.llamagen import sought_tokenizer

CONFIG_NAME = "config.json"
VQ_CONFIG_NAME = "config.yaml"
VQ_WEIGHTS_NAME = "model.ckpt"
VQ_REPOSITORY = "BAAI/Emu3.5-VisionTokenizer"
TOKENIZER_NAME = "tokenizer_emu3_ibq"
TOKENIZER_SOURCE = f"https://github.com/baaivision/Emu3.5/tree/main/src/{TOKENIZER_NAME}"

KEYS = KeyMap(LLAMA_MODEL_KEYS)

DEFAULTS = structs.replace(EMU3_DEFAULTS, head_dim=128)
"""Of `configuration_emu3.py`, for what a file leaves out: they are still those of Emu3."""

_VQ_PLACES = ("Emu3.5-VisionTokenizer", "vision_tokenizer")
_TOKENIZER_PLACES = (TOKENIZER_NAME, f"src/{TOKENIZER_NAME}")
"""In which each is looked for: within the directory of the checkpoint and beside it. The README puts checkpoints into
`weights` of the official code, whose `src` is one further up."""

_MOST_UNNAMED = 1023
"""Rows of a vocabulary that is padded to a round size."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read. The head has the rows of the whole vocabulary.

    size: (width, height) in pixels, where the user named one.
    """

    name: str
    config: LlamaConfig
    weights: Checkpoint
    vocabulary: Vocabulary
    image_tokenizer: ImageTokenizer | None
    size: tuple[int, int] | None


def is_image_tokenizer(path: Path) -> bool:
    return (path / VQ_CONFIG_NAME).is_file() and (path / VQ_WEIGHTS_NAME).is_file()


def read_files(directory: Path, options: OpenOptions) -> Files:
    """Raises `checkpoint` where a file is missing, damaged, of another kind, or does not fit the others."""
    config_path = directory / CONFIG_NAME
    if is_image_tokenizer(directory) and model_type_of(directory) != ORIGINAL_MODEL_TYPE:
        raise WorkerError(
            "checkpoint",
            f"{directory} is the image tokenizer of Emu3.5, which draws nothing by itself. Expected a directory like "
            f"BAAI/Emu3.5-Image; give this one with `--vq`.",
        )
    fields = read_json(config_path)
    config = read_llama_config(config_path, fields, DEFAULTS)
    vocabulary = read_tiktoken(_find_tokenizer(directory, options.text_encoder_path))
    check_ids(config_path, ids_of_config(fields), vocabulary)
    weights = open_checkpoint(directory, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    check_llama_claims(config_path, weights, config)
    weights = with_tied_head(config_path, weights, KEYS, config.tie_word_embeddings)
    check_vocabulary(config_path, config, weights, KEYS, vocabulary)
    _check_unnamed(config_path, config, vocabulary)
    image_tokenizer = _open_image_tokenizer(directory, options)
    if image_tokenizer is not None:
        code_count = image_tokenizer.config.codebook_size
        check_codebook(image_tokenizer.checkpoint.path, code_count, vocabulary, VQ_REPOSITORY)
    return Files(_name(directory), config, weights, vocabulary, image_tokenizer, options.size)


def _find_tokenizer(directory: Path, given: Path | None) -> Path:
    near = (parent / place for parent in _parents(directory, 3) for place in _TOKENIZER_PLACES)
    places = (directory, *near) if given is None else (given,)
    found = next((place for place in places if (place / TIKTOKEN_NAME).is_file()), places[0])
    missing = [name for name in (TIKTOKEN_NAME, VISION_TOKENS_NAME) if not (found / name).is_file()]
    if missing:
        raise WorkerError(
            "checkpoint",
            f"{found} lacks {' and '.join(missing)}: the text tokenizer of Emu3.5, which is not in the repository of "
            f"its weights. Download {TIKTOKEN_NAME} and {VISION_TOKENS_NAME} from {TOKENIZER_SOURCE} into one "
            f"directory and give it with `--text-encoder DIR`, or put both beside {CONFIG_NAME}.",
        )
    refuse_outside_links(found)
    return found


def _open_image_tokenizer(directory: Path, options: OpenOptions) -> ImageTokenizer | None:
    near = (parent / place for parent in _parents(directory, 2) for place in _VQ_PLACES)
    path = options.vq_path or next((place for place in near if (place / VQ_CONFIG_NAME).is_file()), None)
    if path is None:
        return None
    place = path.parent if path.is_file() else path
    refuse_outside_links(place)
    if not (place / VQ_CONFIG_NAME).is_file():
        raise WorkerError(
            "checkpoint",
            f"{place} holds no {VQ_CONFIG_NAME}. Expected the image tokenizer of Emu3.5, {VQ_REPOSITORY}: give its "
            f"directory with `--vq`.",
        )
    config = read_vq_config(place / VQ_CONFIG_NAME, (), "Emu3.5's image tokenizer", f"from {VQ_REPOSITORY}")
    # The hub may have it as transformers writes models, as it also has a `config.json` for that.
    if path is place and ((place / VQ_WEIGHTS_NAME).is_file() or not (place / CONFIG_NAME).is_file()):
        path = place / VQ_WEIGHTS_NAME
    checkpoint = open_checkpoint(path, sought_tokenizer(options.weights_key))
    check_vq_claims(place / VQ_CONFIG_NAME, checkpoint, config)
    return ImageTokenizer(checkpoint, config)


def _check_unnamed(path: Path, config: LlamaConfig, vocabulary: Vocabulary) -> None:
    """The vocabulary of Emu3 has the same form and names, but fewer visual tokens."""
    named = max(vocabulary.ids.values()) + 1
    if config.vocab_size - named > _MOST_UNNAMED:
        raise WorkerError(
            "checkpoint",
            f"{path} gives the model {config.vocab_size} tokens, of which {vocabulary.path} names {named}, with "
            f"{vocabulary.code_count} visual tokens. It is the vocabulary of another model, such as Emu3: take that of "
            f"Emu3.5 from {TOKENIZER_SOURCE}.",
        )


def _parents(directory: Path, count: int) -> tuple[Path, ...]:
    """The directory itself and those above it, `count` in all."""
    whole = directory.absolute()
    return (directory, *whole.parents)[:count]


def _name(directory: Path) -> str:
    """That of the repository, which a directory of the hub's cache has among its parents."""
    *_, repository, _, own = ("", "", *directory.absolute().parts)
    return repository.rpartition("--")[2] if repository.startswith("models--") else own
