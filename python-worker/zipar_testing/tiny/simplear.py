"""SimpleAR: a directory of the hub in shards, with the `decoder.jit` of a Cosmos tokenizer below them.

The published models draw at least 16 x 16 tokens: ask for fewer with `--size` when this is opened.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from msgspec import structs
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn

from zipar_testing.tiny.lumina_mgpt import write_shards
from zipar_testing.tiny.random_weights import random_state, random_tensor
from zipar_testing.tiny.star import tiny_tokenizer as qwen_tokenizer
from zipar_testing.tiny.tied_transformer import random_tied_transformer
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.qwen_tokenizer import ADDED_NAME, MERGES_NAME, TOKENIZER_NAME, VOCABULARY_NAME
from zipar_worker.families.simplear.files import CONFIG_NAME, DEFAULTS
from zipar_worker.families.vq.cosmos import COSMOS_KEYS, CosmosConfig, CosmosDecoder
from zipar_worker.families.vq.cosmos_files import DIRECTORY_NAME, WEIGHTS_NAME

_LAYER_SPREAD = 10.0
"""Of what layers add: where the head is the embedding, a token would else draw itself again."""
_PIXEL_SPREAD = 1 / 8
"""Of wavelets, of which 64 add up to a pixel."""
_CONTROL = ("<|t2i|>", "<|i2t|>", "<|soi|>", "<|vtokens|>", "<|t2v|>", "<|v2t|>", "<|sov|>")
_OVER_FRAMES = re.compile(r"conv\w*\.1\.conv3d\.weight$|upsample\.conv1\.conv3d\.weight$")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--levels", type=int, nargs="+", default=[5, 4, 3], help="of codes, which are their product")
    parser.add_argument("--tokenizer", choices=("one-file", "parts"), default="one-file")
    parser.add_argument("--vq", action=argparse.BooleanOptionalAction, default=True, help="with an image tokenizer")


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokenizer = tiny_tokenizer()
    write_tokenizer(out, tokenizer, is_one_file=options.tokenizer == "one-file")
    config = structs.replace(
        DEFAULTS,
        vocab_size=tokenizer.get_vocab_size() + prod(options.levels),
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        rope_theta=1e6,
        tie_word_embeddings=True,
    )
    write_config(out / CONFIG_NAME, config)
    write_shards(out, random_transformer(config, generator))
    if options.vq:
        vq = CosmosConfig(tuple(options.levels), latent_channels=4, widths=(16, 32, 32), residual_blocks=1)
        (out / DIRECTORY_NAME).mkdir(exist_ok=True)
        write_program(out / DIRECTORY_NAME / WEIGHTS_NAME, random_cosmos(vq, generator))


def tiny_tokenizer() -> Tokenizer:
    """Qwen2.5's in small, with SimpleAR's control tokens."""
    tokenizer = qwen_tokenizer()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _CONTROL])
    return tokenizer


def write_tokenizer(out: Path, tokenizer: Tokenizer, *, is_one_file: bool) -> None:
    """One file, or the three that the slow tokenizer of transformers saves."""
    content = json.loads(tokenizer.to_str())
    if is_one_file:
        (out / TOKENIZER_NAME).write_text(json.dumps(content))
        return
    (out / VOCABULARY_NAME).write_text(json.dumps(content["model"]["vocab"]))
    merges = "".join(f"{' '.join(pair)}\n" for pair in content["model"]["merges"])
    (out / MERGES_NAME).write_text(f"#version: 0.2\n{merges}")
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    (out / ADDED_NAME).write_text(json.dumps(added))


def write_config(path: Path, config: LlamaConfig) -> None:
    fields = structs.asdict(config)
    for name in ("head_dim", "rope_scaling", "rope_parameters", "attention_bias", "mlp_bias"):
        del fields[name]
    content = fields | {
        "architectures": ["SimpARForCausalLM"],
        "model_type": "qwen2",
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "sliding_window": 32768,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
    }
    path.write_text(json.dumps(content))


def random_transformer(config: LlamaConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of an official file: the head is the embedding."""
    return random_tied_transformer(
        replace(config.decoder, has_qkv_bias=True),
        config.vocab_size,
        config.rope_theta,
        generator,
        layer_spread=_LAYER_SPREAD,
    )


def random_cosmos(config: CosmosConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of an official `decoder.jit`, those without a use for still images among them."""
    with without_weights():
        decoder = CosmosDecoder(config)
    state = random_state(decoder, generator, COSMOS_KEYS)
    for name, tensor in state.items():
        if _OVER_FRAMES.search(name):
            state[name] = random_tensor(name, (*tensor.shape[:2], 3, 1, 1), generator)
        elif tensor.dim() == 4:
            state[name] = tensor.unsqueeze(2)
    state["decoder.conv_out.1.conv3d.weight"] *= _PIXEL_SPREAD
    width, coarsest = config.widths[-1], len(config.widths) - 1
    unused = {f"decoder.mid.attn_1.1.{name}.conv3d": (width, width, 1, 1, 1) for name in "qk"}
    unused[f"decoder.up.{coarsest}.upsample.conv1.conv3d"] = (width, width, 3, 1, 1)
    for name, shape in unused.items():
        state[f"{name}.weight"] = random_tensor("weight", shape, generator)
        state[f"{name}.bias"] = torch.zeros(width)
    levels = torch.tensor(config.levels, dtype=torch.int32)
    return state | {
        "inv_quant.quantizer._levels": levels,
        "inv_quant.quantizer._basis": torch.cumprod(torch.tensor([1, *config.levels[:-1]]), 0, dtype=torch.int32),
        "decoder.unpatcher3d.wavelets": torch.full((2,), 2**-0.5),
        "decoder.unpatcher3d._arange": torch.arange(2),
    }


def write_program(path: Path, state: dict[str, Tensor]) -> None:
    """A TorchScript program of modules that hold these tensors under their names."""
    program = nn.Module()
    for key, tensor in state.items():
        *names, last = key.split(".")
        owner = program
        for name in names:
            if name not in dict(owner.named_children()):
                owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        if tensor.is_floating_point():
            owner.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        else:
            owner.register_buffer(last, tensor)
    torch.jit.script(program).save(str(path))
