"""Emu3.5: a directory of the hub in shards, its image tokenizer and its text tokenizer in folders below it.

The official sizes are too large for most tests: `size` at opening, such as 128 x 96 pixels, gives a small one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from msgspec import structs
from torch import Tensor

from zipar_testing.tiny.emu3_vocabulary import END, END_FRAME, END_IMAGE, tiny_vocabulary, write_json, write_tiktoken
from zipar_testing.tiny.lumina_mgpt import random_image_tokenizer, write_shards
from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.emu3.vocabulary import BEGIN, BEGIN_IMAGE, END_ROW, END_SIZE, PADDING
from zipar_worker.families.emu3_5.files import (
    CONFIG_NAME,
    DEFAULTS,
    KEYS,
    TOKENIZER_NAME,
    VQ_CONFIG_NAME,
    VQ_WEIGHTS_NAME,
)
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig

VISION_TOKENIZER_NAME = "Emu3.5-VisionTokenizer"

_LOGIT_SPREAD = 2.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2, help="heads that have their own K and V")
    parser.add_argument("--head-dim", type=int, default=24, help="heads together may be wider than the model")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--positions", type=int, default=8192, help="longest prompt and image together, in tokens")
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = tiny_vocabulary(options.codes)
    config = structs.replace(
        DEFAULTS,
        vocab_size=vocabulary.size,
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.head_dim,
        max_position_embeddings=options.positions,
    )
    write_shards(out, random_transformer(config, generator))
    _write_config(out / CONFIG_NAME, config, vocabulary.ids)
    (out / TOKENIZER_NAME).mkdir(exist_ok=True)
    write_tiktoken(out / TOKENIZER_NAME, vocabulary)
    if options.vq:
        (out / VISION_TOKENIZER_NAME).mkdir(exist_ok=True)
        write_image_tokenizer(out / VISION_TOKENIZER_NAME, options.codes, generator)


def random_transformer(config: LlamaConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of the language model under the official names and in the official shapes."""
    with without_weights():
        # The whole vocabulary has rows in an official head.
        transformer = TokenTransformer(
            replace(config.decoder, head_norm="rms"), config.vocab_size, config.rope_theta, range(config.vocab_size), 0
        )
    state = random_state(transformer, generator, KEYS)
    for name in state:
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            # Stored once for all heads.
            state[name] = 1 + 0.1 * torch.randn(config.decoder.head_dim, generator=generator)
    # Each token shall matter as much as what the layers add to it.
    state["model.embed_tokens.weight"] *= config.hidden_size**0.5
    state["lm_head.weight"] *= _LOGIT_SPREAD
    return state


def write_image_tokenizer(directory: Path, code_count: int, generator: torch.Generator) -> None:
    """`config.yaml` and `model.ckpt`."""
    config = ChameleonVQConfig(
        codebook_size=code_count,
        embedding_dim=16,
        channels=GROUPS,
        channel_multipliers=(1, 1, 1, 1, 2),
        residual_blocks=1,
        latent_channels=GROUPS,
        training_resolution=256,
        attention_resolutions=(16,),
    )
    params, state = random_image_tokenizer(config, generator)
    (directory / VQ_CONFIG_NAME).write_text(yaml.safe_dump(params, sort_keys=False))
    torch.save({"state_dict": state}, directory / VQ_WEIGHTS_NAME)


def _write_config(path: Path, config: LlamaConfig, ids: dict[str, int]) -> None:
    fields = structs.asdict(config)
    del fields["rope_parameters"], fields["mlp_bias"], fields["attention_bias"]
    names = {"pad": PADDING, "bos": BEGIN, "eos": END, "img": END_SIZE, "boi": BEGIN_IMAGE, "eoi": END_IMAGE}
    names |= {"eol": END_ROW, "eof": END_FRAME}
    content = {
        "architectures": ["Emu3ForCausalLM"],
        "model_type": "Emu3",
        "torch_dtype": "float32",
        "attention_dropout": 0.1,
        "initializer_range": 0.02,
        "use_cache": True,
        **fields,
        **{f"{field}_token_id": ids[name] for field, name in names.items()},
    }
    write_json(path, content)
