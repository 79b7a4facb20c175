"""Liquid: a directory of the hub in shards, with Meta's image tokenizer in `chameleon` beside the weights.

The image is as large as the image tokenizer was trained for: `--rows` tokens squared.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from msgspec import structs
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor

from zipar_testing.tiny.lumina_mgpt import write_image_tokenizer, write_shards
from zipar_testing.tiny.tied_transformer import random_tied_transformer
from zipar_worker.families.liquid.files import CONFIG_NAME, DEFAULTS
from zipar_worker.families.liquid.prompt import BEGIN_TEXT, PADDING, TOKENIZER_NAME
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig

_LAYER_SPREAD = 6.0
"""Of what layers add: where the head is the embedding, a token would else draw itself again."""
_SPECIAL = [PADDING, "<eos>", BEGIN_TEXT, "<unk>", "<mask>", "<2mass>", "[@BOS@]", "<boi>", "<eoi>", "<unconditional>"]
_UNUSED = [f"<unused{number}>" for number in range(3, 6)]
_TEXT = ["\n", "\n\n", "\u2581\u2581", "<b>"]
"""Added tokens that are text, of which Gemma has 250."""
_MERGES = [
    ("t", "h"),
    ("th", "e"),
    ("\u2581", "the"),
    ("i", "n"),
    ("in", "g"),
    ("a", "n"),
    ("\u2581", "an"),
    ("e", "r"),
]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=6, help="of the token grid, which is square")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=48)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=16, help="wider than a head's share, as in Gemma-7B")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(out / TOKENIZER_NAME))
    (out / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "GemmaTokenizer",
                "add_bos_token": True,
                "bos_token": BEGIN_TEXT,
                "eos_token": "<eos>",
                "pad_token": PADDING,
                "unk_token": "<unk>",
            }
        )
    )
    config = structs.replace(
        DEFAULTS,
        vocab_size=tokenizer.get_vocab_size() + options.codes,
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.head_dim,
    )
    write_config(out / CONFIG_NAME, config)
    write_shards(out, random_transformer(config, generator))
    if options.vq:
        vq = ChameleonVQConfig(
            codebook_size=options.codes,
            embedding_dim=16,
            channels=GROUPS,
            channel_multipliers=(1, 1, 1, 1, 1),
            residual_blocks=1,
            latent_channels=GROUPS,
            training_resolution=16 * options.rows,
        )
        (out / "chameleon").mkdir(exist_ok=True)
        write_image_tokenizer(out / "chameleon", vq, generator)


def tiny_tokenizer() -> Tokenizer:
    """In the form of Gemma's: byte fallback, no space put in front, tags and white space as added tokens."""
    letters = [chr(code) for code in range(33, 127)]
    names = [*_SPECIAL, *_UNUSED, "<start_of_turn>", "<end_of_turn>", *_TEXT]
    byte_names = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [*names, *byte_names, "\u2581", *letters, *(first + second for first, second in _MERGES)]
    vocabulary = {word: token for token, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocabulary, _MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in _SPECIAL])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in _UNUSED])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in _TEXT])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_TEXT} $A", special_tokens=[(BEGIN_TEXT, vocabulary[BEGIN_TEXT])]
    )
    return tokenizer


def write_config(path: Path, config: LlamaConfig) -> None:
    """As the official file has it, with the activation that Gemma's first files name and do not mean."""
    fields = structs.asdict(config)
    del fields["rope_parameters"], fields["tie_word_embeddings"], fields["mlp_bias"]
    content = fields | {
        "architectures": ["GemmaForCausalLM"],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "hidden_act": "gelu",
        "hidden_activation": None,
        "model_type": "gemma",
        "pad_token_id": 0,
        "torch_dtype": "bfloat16",
    }
    path.write_text(json.dumps(content))


def random_transformer(config: LlamaConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of an official file: the head is the embedding, norms store what is added to 1."""
    state = random_tied_transformer(
        replace(config.decoder, norms_add_one=True),
        config.vocab_size,
        config.rope_theta,
        generator,
        layer_spread=_LAYER_SPREAD,
    )
    for name, tensor in state.items():
        if "norm" in name:
            state[name] = tensor - 1
    return state
