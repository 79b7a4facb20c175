"""Anole in small: Meta's layout, with `models/7b` and `tokenizer`, and that of transformers' Chameleon.

The two layouts of one seed hold the same model. The image is as large as the image tokenizer was trained for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from msgspec import structs
from torch import Tensor

from zipar_testing.tiny.lumina_mgpt import (
    random_image_tokenizer,
    random_transformer,
    token_names,
    vocabulary,
    write_image_tokenizer,
    write_shards,
    write_tokenizer,
)
from zipar_worker.families.anole.files import CONFIG_NAME, HF_DEFAULTS, TOKENIZER_NAME
from zipar_worker.families.anole.meta import META_CONFIG_NAME, META_SHARDING_NAME, META_WEIGHTS_NAME
from zipar_worker.families.anole.vq import VQ_PREFIX
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.vq.chameleon import GROUPS, ChameleonVQConfig
from zipar_worker.families.vq.chameleon_files import VQ_VOCABULARY_NAME

_MULTIPLE_OF = 32
_META_NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.": "",
    "lm_head": "output",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "self_attn.q_norm": "attention.q_normalization",
    "self_attn.k_norm": "attention.k_normalization",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", choices=["meta", "hf"], default="meta")
    parser.add_argument("--rows", type=int, default=6, help="of the token grid, which is square")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--fused", action="store_true", help="projections that read one input as one tensor (meta)")


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    names = token_names(options.codes, [8706, 8707])
    width = int(2 * 4 * options.dim / 3)
    config = structs.replace(
        HF_DEFAULTS,
        vocab_size=len(vocabulary(names)),
        hidden_size=options.dim,
        intermediate_size=-(-width // _MULTIPLE_OF) * _MULTIPLE_OF,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
    )
    vq = ChameleonVQConfig(
        codebook_size=options.codes,
        embedding_dim=16,
        channels=GROUPS,
        channel_multipliers=(1, 1, 1, 1, 1),
        residual_blocks=1,
        latent_channels=GROUPS,
        training_resolution=16 * options.rows,
    )
    state = random_transformer(config, generator)
    if options.layout == "meta":
        write_meta(out, config, state, options.fused)
        (out / "tokenizer").mkdir(exist_ok=True)
        write_tokenizer(out / "tokenizer" / VQ_VOCABULARY_NAME, names)
        write_image_tokenizer(out / "tokenizer", vq, generator)
        return
    _, image_tokenizer = random_image_tokenizer(vq, generator)
    held = {VQ_PREFIX + name: tensor for name, tensor in image_tokenizer.items()}
    write_shards(out, hub_state(state, options.heads) | held)
    names = ["<image>" if name == "<reserved08707>" else name for name in names]
    write_tokenizer(out / TOKENIZER_NAME, names)
    write_hub_config(out / CONFIG_NAME, config, vq, vocabulary(names))


def write_meta(out: Path, config: LlamaConfig, state: dict[str, Tensor], is_fused: bool) -> None:
    directory = out / "models" / "7b"
    directory.mkdir(parents=True, exist_ok=True)
    model = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "multiple_of": _MULTIPLE_OF,
        "ffn_dim_multiplier": 1.0,
        "norm_eps": config.rms_norm_eps,
        "qk_normalization": True,
        "swin_norm": False,
        "vocab_size": config.vocab_size,
    }
    (directory / META_CONFIG_NAME).write_text(json.dumps({"model": model, "seed": 0}))
    (directory / META_SHARDING_NAME).write_text(json.dumps({"model_parallel_size": 1}))
    tensors = {meta_name(name): tensor.flatten() if "_norm." in name else tensor for name, tensor in state.items()}
    if is_fused:
        for name in [name for name in tensors if name.endswith((".wq.weight", ".w1.weight"))]:
            head, stem = name.removesuffix(".weight").rsplit(".", 1)
            parts = ("wq", "wk", "wv") if stem == "wq" else ("w1", "w3")
            merged = "wqkv" if stem == "wq" else "w13"
            tensors[f"{head}.{merged}.weight"] = torch.cat([tensors.pop(f"{head}.{part}.weight") for part in parts])
    tensors["rope.freqs"] = torch.zeros(4)
    torch.save(tensors, directory / META_WEIGHTS_NAME)


def meta_name(name: str) -> str:
    for ours, theirs in _META_NAMES.items():
        name = name.replace(ours, theirs, 1)
    return name


def hub_state(state: dict[str, Tensor], head_count: int) -> dict[str, Tensor]:
    """Of numbers in Meta's order, those in transformers': the even ones of each head, then the odd ones.

    The permutations are those of transformers' `convert_chameleon_weights_to_hf.py`.
    """

    def sort(tensor: Tensor) -> Tensor:
        heads = tensor.view(head_count, -1, 2, tensor.shape[1])
        return heads.transpose(1, 2).reshape(tensor.shape)

    result = dict(state)
    for name, tensor in state.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            result[name] = sort(tensor)
        elif ".q_norm." in name or ".k_norm." in name:
            result[name] = tensor.view(-1, 2).t().reshape(1, -1).repeat_interleave(head_count, 0)
    return result


def write_hub_config(path: Path, config: LlamaConfig, vq: ChameleonVQConfig, ids: dict[str, int]) -> None:
    fields: dict[str, Any] = structs.asdict(config)
    del fields["rope_parameters"], fields["head_dim"]
    vq_config = {
        "attn_resolutions": None,
        "attn_type": "vanilla",
        "base_channels": vq.channels,
        "channel_multiplier": list(vq.channel_multipliers),
        "double_latent": False,
        "dropout": 0.0,
        "embed_dim": vq.embedding_dim,
        "in_channels": 3,
        "latent_channels": vq.latent_channels,
        "num_embeddings": vq.codebook_size,
        "num_res_blocks": vq.residual_blocks,
        "out_channels": 3,
        "resolution": vq.training_resolution,
    }
    content = fields | {
        "architectures": ["ChameleonForConditionalGeneration"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "model_parallel_size": 1,
        "model_type": "chameleon",
        "swin_norm": False,
        "vocabulary_map": ids,
        "vq_config": vq_config,
    }
    path.write_text(json.dumps(content))
