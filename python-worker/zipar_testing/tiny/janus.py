"""Janus-Pro in small: both published layouts, with what understands pictures, a tokenizer and the configuration files.

The native layout is `pytorch_model.bin`, that of transformers `model.safetensors`; either in shards, as those of the 7B
are, where that is asked for.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import JanusConfig, JanusForConditionalGeneration

from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.janus.prompt import (
    ASSISTANT,
    BEGIN_OF_IMAGE,
    BEGIN_OF_SENTENCE,
    END_OF_IMAGE,
    END_OF_SENTENCE,
    IMAGE_PLACEHOLDER,
    PADDING,
    TOKENIZER_NAME,
    USER,
)

TEXT_VOCABULARY = 320
PROMPT_POSITIONS = 128
PATCH_SIZE = 16
CODE_DIM = 8
VISION_WIDTH = 32

_HEAD = "model.generation_head.vision_head.weight"
# Logits of codes then spread over several units.
_HEAD_SPREAD = 3.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", choices=["native", "transformers"], default="native")
    parser.add_argument("--rows", type=int, default=4, help="of the token grid, which is square")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, help="heads that have their own K and V, if not all")
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--shards", type=int, default=1)


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    """Fills the directory `out`. The two layouts of one seed hold the same model."""
    sections = _sections(options)
    config = _transformers_config(sections)
    with without_weights():
        model = JanusForConditionalGeneration(config)
    state = random_state(model, torch.Generator().manual_seed(seed))
    state[_HEAD] *= _HEAD_SPREAD
    if options.layout == "native":
        state = _native_state(state)
        _write_json(out / "config.json", _native_config(sections))
        _write_json(out / "processor_config.json", {"processor_class": "VLChatProcessor", "sft_format": "deepseek"})
        _write_weights(out, "pytorch_model.bin", state, options.shards)
    else:
        config.save_pretrained(out)
        _write_json(out / "generation_config.json", _generation_config())
        _write_weights(out, "model.safetensors", state, options.shards)
    tiny_tokenizer().save(str(out / TOKENIZER_NAME))
    _write_json(out / "tokenizer_config.json", _tokenizer_config())


def tiny_tokenizer() -> Tokenizer:
    """Bytes, a few merges and DeepSeek's special tokens; an added letter, as DeepSeek has some, is no special token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("c", "a"),
        ("ca", "t"),
        ("r", "e"),
        ("re", "d"),
        ("\u0120", "a"),
        ("\u0120", "cat"),
        ("\u010a", "\u010a"),
    ]
    words = [*alphabet, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{P}+"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BEGIN_OF_SENTENCE, END_OF_SENTENCE, PADDING])
    tokenizer.add_tokens([AddedToken("\u00f8", normalized=True)])
    tokenizer.add_special_tokens([IMAGE_PLACEHOLDER, BEGIN_OF_IMAGE, END_OF_IMAGE, USER, ASSISTANT])
    return tokenizer


@dataclass(frozen=True)
class _Sections:
    """The parts of a configuration, in transformers' words."""

    text: dict[str, Any]
    vision: dict[str, Any]
    vq: dict[str, Any]


def _sections(options: argparse.Namespace) -> _Sections:
    text = {
        "model_type": "llama",
        "vocab_size": TEXT_VOCABULARY,
        "hidden_size": options.dim,
        "intermediate_size": 2 * options.dim,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.kv_heads or options.heads,
        "max_position_embeddings": options.rows**2 + PROMPT_POSITIONS,
    }
    vision = {
        "hidden_size": VISION_WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": options.rows * PATCH_SIZE,
        "patch_size": PATCH_SIZE,
        "num_image_tokens": options.rows**2,
        "projection_dim": options.dim,
    }
    vq = {
        "embed_dim": CODE_DIM,
        "num_embeddings": options.codes,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1, 2],
        "num_res_blocks": 1,
        "projection_dim": options.dim,
        "image_token_embed_dim": options.dim,
    }
    return _Sections(text, vision, vq)


def _transformers_config(sections: _Sections) -> JanusConfig:
    # The head of the text is a matrix of its own, as in the published checkpoints.
    return JanusConfig(
        text_config=sections.text, vision_config=sections.vision, vq_config=sections.vq, tie_word_embeddings=False
    )


def _native_config(sections: _Sections) -> dict[str, Any]:
    dim, codes = sections.text["hidden_size"], sections.vq["num_embeddings"]
    perceptron = {"depth": 2, "n_embed": dim, "projector_type": "mlp_gelu"}
    vision = {"image_size": sections.vision["image_size"], "model_name": "siglip_large_patch16_384"}
    parts = {
        "vision": ("CLIPVisionTower", vision),
        "aligner": ("MlpProjector", perceptron | {"input_dim": VISION_WIDTH}),
        "gen_vision": ("VQ-16", {"image_token_size": codes, "n_embed": CODE_DIM}),
        "gen_aligner": ("MlpProjector", perceptron | {"input_dim": CODE_DIM}),
        "gen_head": ("vision_head", {"image_token_embed": dim, "image_token_size": codes, "n_embed": dim}),
    }
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": "bfloat16",
        "language_config": sections.text,
        **{
            f"{name}_config": {"cls": cls, "model_type": name, "params": params}
            for name, (cls, params) in parts.items()
        },
    }


_NATIVE_NAMES = (
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.generation_embeddings\.", "gen_embed."),
    (r"^model\.(generation_)?aligner\.", lambda match: "gen_aligner." if match[1] else "aligner."),
    (r"^((?:gen_)?aligner)\.fc1\.", r"\1.layers.0."),
    (r"^((?:gen_)?aligner)\.hidden_layers\.0\.", r"\1.layers.2."),
    (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
    (r"^model\.generation_head\.", "gen_head."),
    (r"^model\.vqmodel\.", "gen_vision_model."),
    (r"^(gen_vision_model\..*\.)(?:up|down)\.(\d+)\.", r"\1conv_blocks.\2."),
    (r"^(gen_vision_model\..*\.conv_blocks\.\d+)\.block\.", r"\1.res."),
    (r"^(gen_vision_model\..*\.mid)\.block_1\.", r"\1.0."),
    (r"^(gen_vision_model\..*\.mid)\.attn_1\.", r"\1.1."),
    (r"^(gen_vision_model\..*\.mid)\.block_2\.", r"\1.2."),
)


def _native_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the native names; the vision tower, which nothing reads, holds zeros."""
    native = {_native_name(name): state[name] for name in state if not name.startswith("model.vision_model.")}
    native["gen_vision_model.quantize.codebook_used"] = torch.zeros(65536)
    return native | {name: torch.zeros(shape) for name, shape in _vision_tower().items()}


def _native_name(name: str) -> str:
    for pattern, replacement in _NATIVE_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _vision_tower() -> dict[str, tuple[int, ...]]:
    """Shapes of a SigLIP tower of one block for one patch, as `janus/models/siglip_vit.py` names them."""
    width = VISION_WIDTH
    norms = ("blocks.0.norm1", "blocks.0.norm2", "norm")
    maps = {
        "blocks.0.attn.qkv": (3 * width, width),
        "blocks.0.attn.proj": (width, width),
        "blocks.0.mlp.fc1": (4 * width, width),
        "blocks.0.mlp.fc2": (width, 4 * width),
        "patch_embed.proj": (width, 3, PATCH_SIZE, PATCH_SIZE),
    }
    weights = {f"{name}.weight": shape for name, shape in maps.items()}
    biases = {f"{name}.bias": shape[:1] for name, shape in maps.items()}
    vectors = {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    shapes = {"pos_embed": (1, 1, width), **weights, **biases, **vectors}
    return {f"vision_model.vision_tower.{name}": shape for name, shape in shapes.items()}


def _write_weights(out: Path, name: str, state: Mapping[str, Tensor], shard_count: int) -> None:
    """One file, or shards and their index."""
    if shard_count == 1:
        _save(dict(state), out / name)
        return
    stem, suffix = name.split(".")
    names = sorted(state)
    places: dict[str, str] = {}
    for shard in range(shard_count):
        file = f"{stem}-{shard + 1:05d}-of-{shard_count:05d}.{suffix}"
        own = names[shard::shard_count]
        _save({key: state[key] for key in own}, out / file)
        places |= dict.fromkeys(own, file)
    total = sum(tensor.nbytes for tensor in state.values())
    _write_json(out / f"{name}.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "LlamaTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": BEGIN_OF_SENTENCE,
        "eos_token": END_OF_SENTENCE,
        "pad_token": PADDING,
        "model_max_length": 16384,
    }


def _generation_config() -> dict[str, Any]:
    ids = tiny_tokenizer()
    return {
        "bos_token_id": ids.token_to_id(BEGIN_OF_SENTENCE),
        "eos_token_id": ids.token_to_id(END_OF_SENTENCE),
        "pad_token_id": ids.token_to_id(PADDING),
        "guidance_scale": 5,
        "generation_kwargs": {"boi_token_id": ids.token_to_id(BEGIN_OF_IMAGE)},
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
