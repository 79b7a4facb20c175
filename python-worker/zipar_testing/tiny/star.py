"""STAR in small: `STAR-7B.pt`, `VQ-Model.pt` and the directory of a Qwen2.5-VL, side by side.

The published models draw 24 x 24 tokens: ask for fewer with `--size` when this is opened.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor

from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.decoder import DecoderConfig
from zipar_worker.families.star.files import CONFIG_NAME, VQ_NAME
from zipar_worker.families.star.prompt import TOKENIZER_NAME
from zipar_worker.families.star.transformer import StarTransformer, star_keys
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder

WEIGHTS_NAME = "STAR-7B.pt"
QWEN_NAME = "Qwen2.5-VL-7B-Instruct"

_CODE_DIM = 16
_HEAD_SPREAD = 3.0
_ADAPTER_SPREAD = 2.5
"""GELU takes away more than half; codes then weigh as much as words."""
_MERGES = [("u", "s"), ("e", "r"), ("us", "er"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g")]
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
_CONTROL_THAT_IS_NOT_SPECIAL = ("<|fim_prefix|>", "<|fim_pad|>", "<tool_call>")
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's own, for messages of text."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=2, help="of Qwen2.5-VL")
    parser.add_argument("--stacked-layers", type=int, default=2)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--codes", type=int, default=64)


def write(out: Path, seed: int, options: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(seed)
    qwen = out / QWEN_NAME
    qwen.mkdir(exist_ok=True)
    tokenizer = tiny_tokenizer()
    vocabulary_size = tokenizer.get_vocab_size() + 5
    (qwen / TOKENIZER_NAME).write_text(tokenizer.to_str())
    (qwen / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": _CHAT_TEMPLATE})
    )
    (qwen / CONFIG_NAME).write_text(json.dumps(_config(options, vocabulary_size)))
    state = transformer_state(options, vocabulary_size, generator)
    vq = LlamaGenVQConfig(options.codes, _CODE_DIM, 32, (1, 1, 1, 1, 1), 1, 32, 8, has_unit_codes=False)
    with without_weights():
        decoder = LlamaGenVQDecoder(vq)
    image_tokenizer = random_state(decoder, generator)
    image_tokenizer["quantize.embedding.weight"] = state.pop("pixel_encoder.quantize.embedding.weight")
    torch.save(image_tokenizer | {"encoder.conv_in.bias": torch.zeros(32)}, out / VQ_NAME)
    own = {key: tensor for key, tensor in state.items() if not key.startswith("llm.")}
    torch.save({"state_dict": own}, out / WEIGHTS_NAME)
    language = {key.removeprefix("llm."): tensor for key, tensor in state.items() if key.startswith("llm.")}
    language |= {"visual.patch_embed.proj.weight": torch.zeros(3), "lm_head.weight": torch.zeros(vocabulary_size, 4)}
    save_file(language, qwen / "model.safetensors", metadata={"format": "pt"})


def transformer_state(
    options: argparse.Namespace, vocabulary_size: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """The tensors of both stacks and what is around them, under the official names."""
    config = DecoderConfig(
        dim=options.dim,
        layer_count=options.layers + options.stacked_layers,
        head_count=options.heads,
        kv_head_count=options.kv_heads,
        head_dim=options.dim // options.heads,
        feed_forward_width=2 * options.dim,
        norm_epsilon=1e-6,
        has_qkv_bias=True,
        inner_layer_count=options.layers,
    )
    with without_weights():
        transformer = StarTransformer(config, vocabulary_size, 1e6, options.codes, (_CODE_DIM, *[options.dim] * 3))
    state = random_state(transformer, generator, star_keys(options.layers, options.stacked_layers))
    state["llm.model.embed_tokens.weight"] *= options.dim**0.5
    state["pixel_output_head.weight"] *= _HEAD_SPREAD
    for name in (name for name in state if name.startswith("pixel_adapter.") and name.endswith("weight")):
        state[name] *= _ADAPTER_SPREAD
    return state


def tiny_tokenizer() -> Tokenizer:
    text = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in _MERGES)]
    tokenizer = Tokenizer(BPE({name: token for token, name in enumerate(text)}, _MERGES))
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_QWEN_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _CONTROL])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in _CONTROL_THAT_IS_NOT_SPECIAL])
    return tokenizer


def _config(options: argparse.Namespace, vocabulary_size: int) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vocab_size": vocabulary_size,
        "hidden_size": options.dim,
        "intermediate_size": 2 * options.dim,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.kv_heads,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
        "use_sliding_window": False,
        "sliding_window": 2048,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
    }
