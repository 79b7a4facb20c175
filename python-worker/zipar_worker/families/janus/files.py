"""Which files a Janus checkpoint consists of, found and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.weights import Checkpoint, check_claims, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.janus.config import LANDMARKS, JanusConfig, read_config
from zipar_worker.families.janus.prompt import TOKENIZER_NAME, JanusTokenizer
from zipar_worker.families.llama_config import LlamaConfig, check_llama_claims
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, config_of_tensors

CONFIG_NAME = "config.json"
OFFICIAL_NAMES = {(2048, 24): "Janus-Pro-1B", (4096, 30): "Janus-Pro-7B"}
"""By width and layers, for a directory whose own name says nothing."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    config: JanusConfig
    checkpoint: Checkpoint
    """Of the transformer and of the image tokenizer; see the key maps of `config`."""
    image_tokenizer: LlamaGenVQConfig
    tokenizer: JanusTokenizer


def read_files(directory: Path, options: OpenOptions) -> Files:
    """Reads the configuration and the shapes of the tensors. Raises `checkpoint`."""
    if options.vq_path is not None:
        raise WorkerError(
            "checkpoint",
            f"{directory} holds its own image tokenizer, received another one: {options.vq_path}. Leave it out.",
        )
    config = read_config(directory / CONFIG_NAME)
    checkpoint = open_checkpoint(directory, Sought(LANDMARKS, key=options.weights_key))
    check_llama_claims(directory / CONFIG_NAME, checkpoint, config.language)
    widths = (*config.aligner_widths, *config.head_widths)
    check_claims(directory / CONFIG_NAME, checkpoint, parts=len(widths), widths=widths)
    image_tokenizer = config_of_tensors(checkpoint, config.image_tokenizer_keys)
    found = (image_tokenizer.codebook_size, image_tokenizer.embedding_dim, image_tokenizer.pixels_per_token)
    expected = (config.code_count, config.code_dim, config.patch_size)
    if found != expected:
        raise WorkerError(
            "checkpoint",
            f"{directory}: the image tokenizer has {found[0]} codes of {found[1]} numbers, each for {found[2]} pixels "
            f"squared, but {CONFIG_NAME} says {expected[0]} of {expected[1]}, each for {expected[2]}. The files do not "
            f"belong together: download them again from one repository.",
        )
    tokenizer = JanusTokenizer((options.text_encoder_path or directory) / TOKENIZER_NAME)
    if tokenizer.greatest_id >= config.language.vocab_size:
        raise WorkerError(
            "checkpoint",
            f"{directory}: {TOKENIZER_NAME} has the token {tokenizer.greatest_id}, but {CONFIG_NAME} says that the "
            f"transformer knows {config.language.vocab_size}. Take both from one repository.",
        )
    return Files(_name(directory, config.language), config, checkpoint, image_tokenizer, tokenizer)


def _name(directory: Path, language: LlamaConfig) -> str:
    own = directory.resolve().name
    if "janus" in own.lower():
        return own
    return OFFICIAL_NAMES.get((language.hidden_size, language.num_hidden_layers), f"Janus {own}")
