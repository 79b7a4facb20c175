"""The configuration and the weights of a tiny Emu3-Gen, as the official files hold them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import Emu3TextConfig, Emu3TextModel, Emu3VQVAE, Emu3VQVAEConfig

from zipar_testing.tiny.emu3_vocabulary import (
    END,
    END_FRAME,
    END_IMAGE,
    TinyVocabulary,
    tiny_vocabulary,
    token_ids,
    write_json,
    write_tiktoken,
    write_tokenizer_json,
)
from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.emu3.vocabulary import BEGIN, BEGIN_IMAGE, END_ROW, END_SIZE, PADDING

VISION_TOKENIZER_NAME = "Emu3-VisionTokenizer"

_LOGIT_SPREAD = 2.0
_VQ_CHANNELS = 32
_VQ_CHANNEL_MULTIPLIERS = (1, 1, 1, 2)

_ORIGINAL_VQ_KEYS = (
    (r"\.down_block\.down\.", ".down."),
    (r"\.up_block\.up\.", ".up."),
    (r"\.middle_block\.attn_norm\.", ".mid.attn_1.norm."),
    (r"\.middle_block\.", ".mid."),
    (r"\.attn_norms\.(\d+)\.", r".attn.\1.norm."),
    (r"\.([qkv])_proj\.", r".\1."),
    (r"\.out_proj\.", ".proj_out."),
)
"""From the keys of transformers to those of BAAI/Emu3-VisionTokenizer."""


def write_emu3(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = tiny_vocabulary(options.codes)
    text_config, vq_config = _text_config(vocabulary, options), _vq_config(options)
    with without_weights():
        text_model = Emu3TextModel(text_config)
        lm_head = nn.Linear(options.dim, vocabulary.size, bias=False)
        vq_model = Emu3VQVAE(vq_config)
    text = {f"model.{name}": tensor for name, tensor in random_state(text_model, generator).items()}
    # Each token shall matter as much as what the layers add to it.
    text["model.embed_tokens.weight"] *= options.dim**0.5
    text["lm_head.weight"] = random_state(lm_head, generator)["weight"] * _LOGIT_SPREAD
    vq = {**random_state(vq_model, generator), **_random_statistics(vq_model, generator)}
    if options.layout == "original":
        _save(out, text, options.shard_size)
        _write_original_config(out, text_config, vocabulary, options.area)
        write_tiktoken(out, vocabulary)
        if options.vq:
            _write_vision_tokenizer(out / VISION_TOKENIZER_NAME, vq_config, vq)
    else:
        converted = {f"text_model.{name}": tensor for name, tensor in text.items()}
        converted |= {f"vqmodel.{name}": tensor for name, tensor in vq.items()}
        _save(out, converted, options.shard_size)
        _write_converted_config(out, text_config, vq_config, vocabulary, options.area)
        write_tokenizer_json(out, vocabulary)


def _text_config(vocabulary: TinyVocabulary, options: argparse.Namespace) -> Emu3TextConfig:
    return Emu3TextConfig(
        vocab_size=vocabulary.size,
        hidden_size=options.dim,
        intermediate_size=2 * options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        max_position_embeddings=options.positions,
        pad_token_id=vocabulary.ids[PADDING],
        bos_token_id=vocabulary.ids[BEGIN],
        eos_token_id=vocabulary.ids[END],
    )


def _vq_config(options: argparse.Namespace) -> Emu3VQVAEConfig:
    return Emu3VQVAEConfig(
        codebook_size=options.codes,
        base_channels=_VQ_CHANNELS,
        channel_multiplier=_VQ_CHANNEL_MULTIPLIERS,
        num_res_blocks=1,
        hidden_size=_VQ_CHANNELS * _VQ_CHANNEL_MULTIPLIERS[-1],
    )


def _random_statistics(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Of the batch normalisations."""
    statistics = {}
    for name, buffer in module.named_buffers():
        if name.endswith("num_batches_tracked"):
            statistics[name] = torch.ones(buffer.shape, dtype=buffer.dtype)
        else:
            noise = 0.1 * torch.randn(buffer.shape, generator=generator)
            statistics[name] = 1.0 + noise if name.endswith("running_var") else noise
    return statistics


def _write_vision_tokenizer(out: Path, config: Emu3VQVAEConfig, state: Mapping[str, Tensor]) -> None:
    """A directory like `BAAI/Emu3-VisionTokenizer`. state: the tensors of `transformers.Emu3VQVAE`."""
    out.mkdir(exist_ok=True)
    # The original projects by convolutions of 1 x 1.
    _save(
        out,
        {
            _original_vq_key(name): tensor[:, :, None, None] if name.endswith("_proj.weight") else tensor
            for name, tensor in state.items()
        },
    )
    write_json(
        out / "config.json",
        {
            "architectures": ["Emu3VisionVQModel"],
            "model_type": "Emu3VisionVQ",
            "torch_dtype": "float32",
            "codebook_size": config.codebook_size,
            "embed_dim": config.embed_dim,
            "z_channels": config.latent_channels,
            "double_z": config.double_latent,
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "temporal_downsample_factor": config.temporal_downsample_factor,
            "ch": config.base_channels,
            "ch_mult": list(config.channel_multiplier),
            "num_res_blocks": config.num_res_blocks,
            "attn_resolutions": list(config.attn_resolutions),
            "dropout": 0.0,
        },
    )
    write_json(out / "preprocessor_config.json", _image_processor("Emu3VisionVQImageProcessor"))


def _original_vq_key(name: str) -> str:
    for pattern, replacement in _ORIGINAL_VQ_KEYS:
        name = re.sub(pattern, replacement, name)
    return name


def _write_original_config(out: Path, config: Emu3TextConfig, vocabulary: TinyVocabulary, area: int) -> None:
    ids = vocabulary.ids
    write_json(
        out / "config.json",
        {
            "architectures": ["Emu3ForCausalLM"],
            "model_type": "Emu3",
            "torch_dtype": "float32",
            **_shared_fields(config),
            "image_area": area,
            "rope_scaling": None,
            "rope_theta": 1000000.0,
            "img_token_id": ids[END_SIZE],
            "boi_token_id": ids[BEGIN_IMAGE],
            "eoi_token_id": ids[END_IMAGE],
            "eol_token_id": ids[END_ROW],
            "eof_token_id": ids[END_FRAME],
        },
    )


def _write_converted_config(
    out: Path, config: Emu3TextConfig, vq_config: Emu3VQVAEConfig, vocabulary: TinyVocabulary, area: int
) -> None:
    text_fields = {"model_type": config.model_type, **_shared_fields(config), "rope_parameters": config.rope_parameters}
    write_json(
        out / "config.json",
        {
            "architectures": ["Emu3ForConditionalGeneration"],
            "model_type": "emu3",
            "torch_dtype": "float32",
            # Not in the published file, whose area is the one that transformers takes by default.
            "image_area": area,
            "text_config": text_fields,
            "vq_config": vq_config.to_dict(),
            "vocabulary_map": token_ids(vocabulary),
        },
    )
    write_json(out / "preprocessor_config.json", _image_processor("Emu3ImageProcessor"))
    write_json(out / "processor_config.json", {"processor_class": "Emu3Processor"})


def _shared_fields(config: Emu3TextConfig) -> dict[str, Any]:
    return {
        "attention_dropout": config.attention_dropout,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "hidden_act": config.hidden_act,
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "pad_token_id": config.pad_token_id,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _image_processor(kind: str) -> dict[str, object]:
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_pixels": 1048576,
        "min_pixels": 262144,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "spatial_factor": 8,
    }


def _save(out: Path, state: Mapping[str, Tensor], shard_size: str = "5GB") -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_torch_state_dict(contiguous, out, max_shard_size=shard_size)
