"""Lumina-mGPT 2.0: a directory of the hub in shards, with MoVQGAN's file where the official code has it, below it.

The ids of codes are the official ones, so that the vocabulary has its 155000 tokens before them; the model's width is
small, and its weights are stored in bfloat16. The published checkpoints draw squares of 768 pixels: ask for a smaller
one with `--size` when this is opened.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from msgspec import structs
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor

from zipar_testing.tiny.lumina_mgpt import random_transformer, write_shards
from zipar_testing.tiny.random_weights import random_state, random_tensor
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.lumina_mgpt_2.files import CONFIG_NAME, OFFICIAL
from zipar_worker.families.lumina_mgpt_2.vocabulary import FIRST_CODE, TOKENIZER_CONFIG_NAME, TOKENIZER_NAME
from zipar_worker.families.lumina_mgpt_2.vq import PLACES, WEIGHTS_NAME
from zipar_worker.families.vq.movqgan import MoVQConfig, MoVQDecoder, SpatialDecoder

GROUP_COUNT = 2
"""Of heads that share the norms of their queries and keys."""

CONTROL_IDS = {
    **{name: 151643 + k for k, name in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))},
    **{name: 151665 + k for k, name in enumerate(("<racm3:break>", "<eoss>"))},
    **{f"<reserved{8796 + k:05d}>": 151667 + k for k in range(60)},
    "<reserved08706>": 151727,
}

_MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("e", "r"), (":", "Ċ"), ("Ċ", "Ċ")]
"""A few pairs, so that neighbouring characters of a prompt do join: `Ġ` is a space, `Ċ` the end of a line."""

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    config = structs.replace(
        OFFICIAL,
        vocab_size=FIRST_CODE + options.codes,
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
    )
    write_tokenizer(out)
    write_config(out / CONFIG_NAME, config)
    state = random_transformer(config, generator)
    for name, tensor in state.items():
        if "_norm." in name and tensor.dim() == 2:
            state[name] = torch.cat([tensor, *(tensor.flip(1) for _ in range(GROUP_COUNT - 1))])
    write_shards(out, {name: tensor.bfloat16() for name, tensor in state.items()})
    if options.vq:
        directory = out / PLACES[1]
        directory.mkdir(parents=True, exist_ok=True)
        config_of_vq = MoVQConfig(codebook_size=options.codes, ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1)
        torch.save(image_tokenizer_state(config_of_vq, generator), directory / WEIGHTS_NAME)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def write_tokenizer(out: Path) -> None:
    """Qwen's kind of tokenizer, with the official ids of all tokens that are no text."""
    text = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in _MERGES)]
    vocabulary = {name: token for token, name in enumerate(text)} | CONTROL_IDS
    tokenizer = Tokenizer(BPE(vocabulary, _MERGES))
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_QWEN_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in CONTROL_IDS])
    (out / TOKENIZER_NAME).write_text(tokenizer.to_str())
    (out / TOKENIZER_CONFIG_NAME).write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": None,
                "eos_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                "clean_up_tokenization_spaces": False,
            }
        )
    )


def write_config(path: Path, config: LlamaConfig) -> None:
    fields = structs.asdict(config)
    del fields["rope_parameters"], fields["head_dim"]
    content = fields | {
        "architectures": ["ChameleonForConditionalGeneration"],
        "mask_image_logits": False,
        "model_parallel_size": GROUP_COUNT,
        "model_type": "chameleon",
        "swin_norm": False,
        "torch_dtype": "bfloat16",
        "vocabulary_map": CONTROL_IDS,
    }
    path.write_text(json.dumps(content))


def image_tokenizer_state(config: MoVQConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """A plain dictionary of decoder, codebook and some of the encoder, which is not read."""
    with without_weights():
        decoder = MoVQDecoder(config, SpatialDecoder(config))
    state = random_state(decoder, generator)
    state["encoder.conv_in.weight"] = random_tensor("conv_in.weight", (config.ch, 3, 3, 3), generator)
    state["quant_conv.weight"] = random_tensor("weight", (config.embed_dim, config.z_channels, 1, 1), generator)
    return state
