"""A tiny FLAN-T5 in the layout of google/flan-t5-xl: shards of the whole model, decoder included, and a tokenizer."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import NFKC
from tokenizers.pre_tokenizers import Metaspace, Sequence, WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from zipar_testing.tiny.random_weights import random_state
from zipar_worker.checkpoints.weights import without_weights

SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
_SENTINEL_COUNT = 4
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
_WORDS = (
    *("a", "an", "and", "at", "behind", "black", "blue", "cat", "dog", "forest", "glass", "green", "horse", "house"),
    *("in", "lake", "light", "moon", "mountain", "of", "on", "orange", "painting", "photo", "red", "river", "sky"),
    *("standing", "sun", "table", "the", "tree", "under", "white", "with", "yellow"),
)
_SHARD_COUNT = 2


def write_text_encoder(directory: Path, feature_dim: int, generator: torch.Generator) -> None:
    """Writes config.json, tokenizer.json, tokenizer_config.json, and shards with their index."""
    # Imported here since it takes seconds, which other checkpoints need not spend.
    from transformers import T5Config, T5ForConditionalGeneration

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(directory / "tokenizer_config.json", _tokenizer_config())
    config: dict[str, Any] = {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": tokenizer.get_vocab_size(),
        "d_model": feature_dim,
        "d_kv": 16,
        "d_ff": 96,
        "num_layers": 2,
        "num_decoder_layers": 1,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 20,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "tie_word_embeddings": False,
    }
    _write_json(directory / "config.json", config)
    with without_weights():
        model = T5ForConditionalGeneration(T5Config(**config))
    state = random_state(model, generator)
    places: dict[str, str] = {}
    for shard in range(_SHARD_COUNT):
        name = f"model-{shard + 1:05}-of-{_SHARD_COUNT:05}.safetensors"
        keys = sorted(state)[shard::_SHARD_COUNT]
        save_file({key: state[key] for key in keys}, directory / name)
        places |= dict.fromkeys(keys, name)
    total_size = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": places}
    _write_json(directory / "model.safetensors.index.json", index)


def tiny_tokenizer() -> Tokenizer:
    """Built like T5's: unigrams over words that start with a low line, an end mark after each text, sentinels last."""
    sentinels = [f"<extra_id_{k}>" for k in reversed(range(_SENTINEL_COUNT))]
    pieces = [
        *((token, 0.0) for token in SPECIAL_TOKENS),
        ("▁", -4.0),
        *((character, -8.0) for character in _CHARACTERS),
        *(("▁" + word, -5.0 - k / 10) for k, word in enumerate(_WORDS)),
        *((sentinel, 0.0) for sentinel in sentinels),
    ]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=SPECIAL_TOKENS.index("<unk>"), byte_fallback=False))
    # T5's own tables of normalisation are those of SentencePiece, which hardly differ from NFKC.
    tokenizer.normalizer = NFKC()
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Metaspace(replacement="▁", prepend_scheme="always")])
    tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", SPECIAL_TOKENS.index("</s>"))]
    )
    tokenizer.add_special_tokens([*SPECIAL_TOKENS, *sentinels])
    return tokenizer


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": _SENTINEL_COUNT,
        "additional_special_tokens": [f"<extra_id_{k}>" for k in range(_SENTINEL_COUNT)],
        "model_max_length": 512,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
