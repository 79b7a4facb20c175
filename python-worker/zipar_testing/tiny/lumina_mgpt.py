"""Lumina-mGPT: a directory of the hub in shards, with Meta's image tokenizer in `ckpts/chameleon/tokenizer` below it.

No file of the format says for which size a model was trained. Call the directory `Lumina-mGPT-7B-128` (or whatever
`--size` is), or say it again when the checkpoint is opened.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from msgspec import structs
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.lumina_mgpt.files import CONFIG_NAME, DEFAULTS, TOKENIZER_NAME
from zipar_worker.families.lumina_mgpt.prompt import PIXELS_PER_SIZE_UNIT, known_sizes
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS, TokenTransformer
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_files import VQ_CONFIG_NAME, VQ_PLACES, VQ_VOCABULARY_NAME, VQ_WEIGHTS_NAME

SHARD_COUNT = 2

_EMBEDDING_SPREAD = 1.0
_LOGIT_SPREAD = 2.0
_MERGES = [
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("i", "n"),
    ("in", "g"),
    ("a", "n"),
    ("Ġ", "an"),
    ("e", "r"),
    (":", "Ċ"),
]
"""A few pairs, so that neighbouring characters of a prompt do join: `Ġ` is a space, `Ċ` the end of a line."""


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    units = max(side // PIXELS_PER_SIZE_UNIT for size in known_sizes(options.size) for side in size)
    names = token_names(options.codes, [8706, 8707, 8799, *range(8801, 8801 + units)])
    config = structs.replace(
        DEFAULTS,
        vocab_size=len(vocabulary(names)),
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
    )
    write_tokenizer(out / TOKENIZER_NAME, [_renamed(name) for name in names])
    (out / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "legacy": False})
    )
    write_config(out / CONFIG_NAME, config, [_renamed(name) for name in names], options.swin_norm)
    write_shards(out, random_transformer(config, generator))
    if options.vq:
        directory = out / VQ_PLACES[-1]
        directory.mkdir(parents=True, exist_ok=True)
        write_tokenizer(directory / VQ_VOCABULARY_NAME, names)
        write_image_tokenizer(
            directory,
            ChameleonVQConfig(
                codebook_size=options.codes,
                embedding_dim=16,
                channels=GROUPS,
                channel_multipliers=(1, 1, 1, 1, 1),
                residual_blocks=1,
                latent_channels=GROUPS,
            ),
            generator,
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=128, help="side in pixels of the square to be trained for")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--swin-norm", action="store_true", help="norms behind attention and MLP, as in 34B")
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def token_names(code_count: int, reserved: Iterable[int]) -> list[str]:
    """Names of all tokens that are no text, in the order of their ids. reserved: numbers of the `<reserved...>`."""
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    codes = [f"IMGIMG{str(code).translate(letters)}Z" for code in range(code_count)]
    head = ["<s>", "<pad>", "</s>", "<unk>"]
    return [*head, *codes, "<eoss>", "<racm3:break>", *(f"<reserved{number:05d}>" for number in reserved)]


def vocabulary(names: Sequence[str]) -> dict[str, int]:
    """Ids of the named tokens, then of every byte and of the merges."""
    text = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in _MERGES)]
    return {name: token for token, name in enumerate([*names, *text])}


def write_tokenizer(path: Path, names: Sequence[str]) -> None:
    tokenizer = Tokenizer(BPE(vocabulary(names), _MERGES, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.save(str(path))


def write_config(path: Path, config: LlamaConfig, names: Sequence[str], swin_norm: bool) -> None:
    fields = structs.asdict(config)
    del fields["rope_parameters"], fields["head_dim"]
    content = fields | {
        "architectures": ["ChameleonForConditionalGeneration"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "mask_image_logits": False,
        "model_parallel_size": 1,
        "model_type": "chameleon",
        "swin_norm": swin_norm,
        "torch_dtype": "float32",
        "vocabulary_map": vocabulary(names),
    }
    path.write_text(json.dumps(content))


def random_transformer(config: LlamaConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of the language model under the official names and in the official shapes."""
    with without_weights():
        # The whole vocabulary has rows in an official head.
        transformer = TokenTransformer(
            replace(config.decoder, head_norm="layer"),
            config.vocab_size,
            config.rope_theta,
            range(config.vocab_size),
            0,
        )
    state = random_state(transformer, generator, KeyMap(LLAMA_MODEL_KEYS))
    for name, tensor in state.items():
        if name.endswith(("q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias")):
            noise = torch.randn((1, config.decoder.head_dim), generator=generator)
            state[name] = 0.1 * noise + (1 if name.endswith("weight") else 0)
        elif name == "model.embed_tokens.weight":
            state[name] = tensor * (_EMBEDDING_SPREAD * config.hidden_size**0.5)
        elif name == "lm_head.weight":
            state[name] = tensor * _LOGIT_SPREAD
    return state


def write_shards(out: Path, state: dict[str, Tensor]) -> None:
    places: dict[str, str] = {}
    names = list(state)
    for shard in range(SHARD_COUNT):
        file = f"model-{shard + 1:05d}-of-{SHARD_COUNT:05d}.safetensors"
        own = names[shard::SHARD_COUNT]
        save_file({name: state[name].contiguous() for name in own}, out / file, metadata={"format": "pt"})
        places |= dict.fromkeys(own, file)
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": {name: places[name] for name in sorted(places)}}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def write_image_tokenizer(directory: Path, config: ChameleonVQConfig, generator: torch.Generator) -> None:
    """`vqgan.yaml` and `vqgan.ckpt`, with what training left behind."""
    params, state = random_image_tokenizer(config, generator)
    (directory / VQ_CONFIG_NAME).write_text(yaml.safe_dump({"model": {"params": params}}, sort_keys=False))
    state["loss.discriminator.main.0.bias"] = torch.zeros(1)
    torch.save({"state_dict": state}, directory / VQ_WEIGHTS_NAME)


def random_image_tokenizer(
    config: ChameleonVQConfig, generator: torch.Generator
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Sizes in the words of the official YAML, and tensors: those of encoder and decoder."""
    shape = {
        "double_z": False,
        "z_channels": config.latent_channels,
        "resolution": config.training_resolution,
        "in_channels": 3,
        "out_ch": 3,
        "ch": config.channels,
        "ch_mult": list(config.channel_multipliers),
        "num_res_blocks": config.residual_blocks,
        "attn_resolutions": list(config.attention_resolutions),
        "dropout": 0.0,
    }
    with without_weights():
        decoder = ChameleonVQDecoder(config)
        # transformers has the other half, under the official names.
        encoder = ChameleonVQVAE(
            ChameleonVQVAEConfig(
                embed_dim=config.embedding_dim,
                num_embeddings=config.codebook_size,
                latent_channels=config.latent_channels,
                base_channels=config.channels,
                channel_multiplier=config.channel_multipliers,
                num_res_blocks=config.residual_blocks,
                resolution=config.training_resolution,
                attn_resolutions=list(config.attention_resolutions),
            )
        )
    state = random_state(encoder, generator) | random_state(decoder, generator)
    return {"embed_dim": config.embedding_dim, "n_embed": config.codebook_size, "ddconfig": shape}, state


def _renamed(name: str) -> str:
    """The checkpoint's own tokenizer has given one of Meta's reserved tokens a name."""
    return "<image>" if name == "<reserved08707>" else name
