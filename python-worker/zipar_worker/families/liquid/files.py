"""What a Liquid checkpoint is, before its tensors are read.

A directory in the layout of the Hugging Face hub, as transformers' Gemma writes it, without an image tokenizer: that is
Meta's, see `vq/chameleon_files.py`. The rows of the embedding behind those of the tokenizer are the image codes. Facts:
README.md, TRAIN.md and `evaluation/` of FoundationVision/Liquid; Gemma's are those of transformers 4.39, which Liquid
pins.
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
from zipar_worker.families.liquid.prompt import TOKENIZER_NAME, LiquidTokenizer
from zipar_worker.families.llama_config import (
    LLAMA_LANDMARKS,
    LlamaConfig,
    check_llama_claims,
    read_llama_config,
    with_tied_head,
)
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.vq.chameleon_files import (
    ImageTokenizer,
    check_code_count,
    find_image_tokenizer,
    open_image_tokenizer,
)

CONFIG_NAME = "config.json"
KEYS = KeyMap(LLAMA_MODEL_KEYS)

DEFAULTS = LlamaConfig(
    vocab_size=256000,
    hidden_size=3072,
    intermediate_size=24576,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=16,
    head_dim=256,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
    hidden_act="gelu_pytorch_tanh",
)
"""Of transformers' Gemma, which are those of Gemma-7B, for what a file leaves out."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    config_path: Path
    config: LlamaConfig
    tokenizer: LiquidTokenizer
    image_tokenizer: ImageTokenizer | None

    @property
    def code_ids(self) -> range:
        return range(self.tokenizer.token_count, self.config.vocab_size)


def read_files(path: Path, options: OpenOptions) -> Files:
    """What a directory holds. Reads shapes, not tensors. Raises `checkpoint`."""
    config_path = path / CONFIG_NAME
    config = _read_config(config_path)
    tokenizer = LiquidTokenizer(_find_text_tokenizer(path, options.text_encoder_path))
    code_count = count_codes_behind_text(
        config_path,
        config.vocab_size,
        tokenizer,
        "8192 behind them, as in Junfeng5/Liquid_V1_7B. Use the files of one Liquid checkpoint: "
        "Gemma itself does not draw.",
    )
    vq_directory = find_image_tokenizer(path, options.vq_path)
    image_tokenizer = None
    if vq_directory is not None:
        image_tokenizer = open_image_tokenizer(vq_directory, options.weights_key)
        check_code_count(vq_directory, image_tokenizer, config_path, code_count)
    checkpoint = open_checkpoint(path, Sought(LLAMA_LANDMARKS, key=options.weights_key))
    check_llama_claims(config_path, checkpoint, config)
    checkpoint = with_tied_head(config_path, checkpoint, KEYS, config.tie_word_embeddings)
    name = directory_name(path, "Liquid")
    return Files(name, checkpoint, config_path, config, tokenizer, image_tokenizer)


def _read_config(path: Path) -> LlamaConfig:
    """Raises `checkpoint`."""
    fields = read_json(path)
    gate = fields.get("hidden_activation") or DEFAULTS.hidden_act
    if gate != DEFAULTS.hidden_act:
        raise unusable(path, f"its hidden_activation is {gate!r}; expected null or {DEFAULTS.hidden_act!r}")
    if fields.get("hidden_act") == "gelu":
        # What Gemma's first files say and do not mean: transformers takes the approximation by tanh instead.
        fields = fields | {"hidden_act": gate}
    return read_llama_config(path, fields, DEFAULTS)


def _find_text_tokenizer(path: Path, given: Path | None) -> Path:
    if given is not None and given.is_file():
        return given
    directory = given or path
    if not (directory / TOKENIZER_NAME).is_file():
        raise WorkerError(
            "checkpoint",
            f"{directory} holds no {TOKENIZER_NAME}. Download it from Junfeng5/Liquid_V1_7B, not from Gemma, and put "
            f"it beside the weights, or give its directory with `--text-encoder DIR`.",
        )
    return directory / TOKENIZER_NAME
