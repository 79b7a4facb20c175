"""What a SimpleAR checkpoint is, before its tensors are read.

A directory in the layout of the Hugging Face hub, as transformers' Qwen2 writes it, without an image tokenizer: that is
NVIDIA's, see `vq/cosmos_files.py`. The rows of the embedding behind those of the tokenizer are the image codes. Facts:
README.md, `generate.py` and `simpar/model/language_model/configuration_qwen2.py` of wdrink/SimpleAR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.codes_behind_text import count_codes_behind_text
from zipar_worker.families.description import OpenOptions, directory_name
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.simplear.prompt import SimpleARTokenizer
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.vq.cosmos_files import REPOSITORY, CosmosTokenizer, find_cosmos, open_cosmos

CONFIG_NAME = "config.json"
KEYS = KeyMap(LLAMA_MODEL_KEYS)

DEFAULTS = LlamaConfig(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=22016,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=32768,
)
"""Of transformers' Qwen2, for what a file leaves out."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    config_path: Path
    config: LlamaConfig
    tokenizer: SimpleARTokenizer
    image_tokenizer: CosmosTokenizer | None
    size: tuple[int, int] | None

    @property
    def code_ids(self) -> range:
        return range(self.tokenizer.token_count, self.config.vocab_size)


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory holds. Reads shapes, not tensors. Raises `checkpoint`."""
    config_path = path / CONFIG_NAME
    fields = read_json(config_path)
    if fields.get("use_sliding_window") is True:
        raise unusable(config_path, "its attention sees a sliding window (use_sliding_window); expected false")
    config = read_llama_config(config_path, fields, DEFAULTS)
    tokenizer = SimpleARTokenizer(_text_directory(path, options.text_encoder_path))
    code_count = count_codes_behind_text(
        config_path,
        config.vocab_size,
        tokenizer,
        "64000 behind them, as in Daniel0724/SimpleAR-0.5B-SFT. Use the files of one SimpleAR checkpoint: "
        "Qwen2.5 itself does not draw.",
    )
    image_tokenizer = _image_tokenizer(path, options, config_path, code_count)
    checkpoint = open_checkpoint(path, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    check_llama_claims(config_path, checkpoint, config)
    checkpoint = with_tied_head(config_path, checkpoint, KEYS, config.tie_word_embeddings)
    name = directory_name(path, "SimpleAR")
    return Files(name, checkpoint, config_path, config, tokenizer, image_tokenizer, options.size)


def _text_directory(path: Path, given: Path | None) -> Path:
    if given is None:
        return path
    return given.parent if given.is_file() else given


def _image_tokenizer(path: Path, options: OpenOptions, config_path: Path, code_count: int) -> CosmosTokenizer | None:
    weights = find_cosmos(path, options.vq_path)
    if weights is None:
        return None
    image_tokenizer = open_cosmos(weights, options.weights_key)
    if image_tokenizer.config.code_count != code_count:
        raise WorkerError(
            "checkpoint",
            f"{weights} has {image_tokenizer.config.code_count} codes, but {config_path} leaves {code_count} tokens "
            f"for images. They do not belong together: take decoder.jit of {REPOSITORY}.",
        )
    return image_tokenizer
