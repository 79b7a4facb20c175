"""FLAN-T5, which reads LlamaGen's captions: found beside the weights, opened, loaded without its decoder.

Facts: `language/t5.py` and `autoregressive/sample/sample_t2i.py` of FoundationVision/LlamaGen (MIT); files as in
google/flan-t5-xl. The model itself is transformers' `T5EncoderModel`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.small_files import Count, decode_json, read_small_file
from zipar_worker.checkpoints.weights import Checkpoint, check_claims, load_module_, open_checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.families.unreadable import lost_by, warn_of_unreadable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OFFICIAL_PLACES = ("flan-t5-xl", "t5-ckpt/flan-t5-xl")
"""Where the directory lies, seen from the directory of the weights."""

MAXIMAL_CHARACTERS = 4096
"""Of a prompt before cleaning, several times what the encoder can read: the rules are slow on long texts."""

_SOURCE = "google/flan-t5-xl"
_SOUGHT = Sought(("encoder.final_layer_norm.weight",))
_LISTED_WORDS = 8


class TextEncoderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the encoder's shape depends on, from its config.json."""

    model_type: Literal["t5"]
    d_model: Count
    d_kv: Count
    d_ff: Count
    num_layers: Count
    num_heads: Count
    vocab_size: Count
    feed_forward_proj: Literal["relu", "gated-gelu"]
    relative_attention_num_buckets: Count
    relative_attention_max_distance: Count = 128
    layer_norm_epsilon: Annotated[float, Meta(gt=0)] = 1e-6
    pad_token_id: Annotated[int, Meta(ge=0)] = 0
    eos_token_id: Annotated[int, Meta(ge=0)] = 1


@dataclass(frozen=True, slots=True)
class Caption:
    """features: [length, dim], zeros in the first `padding` places, then those of the caption's tokens."""

    features: Tensor
    padding: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenedTextEncoder:
    """Files of a text encoder whose configuration and shapes were read."""

    directory: Path
    settings: TextEncoderSettings
    checkpoint: Checkpoint
    """The encoder's tensors alone."""
    tokenizer: Tokenizer

    @property
    def feature_dim(self) -> int:
        return self.settings.d_model

    def weight_bytes(self, dtype: torch.dtype) -> int:
        """Bytes once loaded for a transformer of this number type."""
        numbers = sum(tensor.numel() for tensor in self.checkpoint.tensors.values())
        return numbers * encoder_dtype(dtype).itemsize

    def load(
        self, caption_length: int, *, dtype: torch.dtype, device: torch.device, report: ProgressReporter
    ) -> TextEncoder:
        """dtype: the transformer's. Raises `checkpoint`."""
        model = build_encoder(self.settings)
        load_module_(
            model,
            self.checkpoint,
            dtype=encoder_dtype(dtype),
            device=device,
            report=lambda completed, total: report("load the text encoder", completed, total, "bytes"),
        )
        return TextEncoder(model, self.tokenizer, caption_length, self.settings.pad_token_id, device)


class TextEncoder:
    """A loaded text encoder."""

    def __init__(
        self, model: nn.Module, tokenizer: Tokenizer, caption_length: int, pad_id: int, device: torch.device
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._caption_length = caption_length
        self._pad_id = pad_id
        self._device = device
        self._find_lost = lost_by(tokenizer)

    def encode(self, prompt: str) -> Caption:
        """Raises `prompt` where it is too long, and where nothing of it is left or can be read."""
        text = cleaned_prompt(prompt, self._caption_length)
        warnings = (*warn_of_cut_words(prompt, text), *warn_of_unreadable("prompt", text, self._find_lost))
        tokens = caption_tokens(self._tokenizer, text, self._caption_length)
        padding = self._caption_length - len(tokens)
        # Padded to its full length on the right, as in the official code, although no token sees the padding.
        token_ids = torch.tensor([tokens + [self._pad_id] * padding]).to(self._device)
        mask = torch.tensor([[1] * len(tokens) + [0] * padding]).to(self._device)
        features: Tensor = self._model(input_ids=token_ids, attention_mask=mask).last_hidden_state[0]
        shifted = torch.cat((torch.zeros_like(features[len(tokens) :]), features[: len(tokens)]))
        return Caption(shifted, padding, warnings)


def encoder_dtype(dtype: torch.dtype) -> torch.dtype:
    """The transformer's, but never float16: T5's activations overflow in it, and bfloat16 is the official default."""
    return torch.bfloat16 if dtype == torch.float16 else dtype


def cleaned_prompt(prompt: str, caption_length: int) -> str:
    """What the encoder is given of it. Raises `prompt`."""
    if len(prompt) > MAXIMAL_CHARACTERS:
        raise WorkerError(
            "prompt",
            f"The prompt has {len(prompt)} characters; at most {MAXIMAL_CHARACTERS} are read, and at most "
            f"{caption_length} tokens of them are used. Shorten it.",
        )
    # Imported here for the same reason as transformers below: what cleans captions takes half a second.
    from zipar_worker.families.llamagen.caption import clean_caption

    caption = clean_caption(prompt)
    if prompt.strip() and not caption:
        raise WorkerError(
            "prompt",
            f"Nothing is left of the prompt {prompt[:80]!r} after LlamaGen's cleaning of captions, which removes "
            f"markup, addresses, file names, long numbers and Chinese characters. Describe the image in English.",
        )
    return caption


def warn_of_cut_words(prompt: str, caption: str) -> tuple[str, ...]:
    """A sentence where words of a prompt did not outlive its cleaning."""
    kept = Counter(_words(caption))
    cut = []
    for word in _words(prompt):
        if kept[word] == 0:
            cut.append(word)
        kept[word] -= 1
    if not cut:
        return ()
    listed = ", ".join(f'"{word[:40]}"' for word in cut[:_LISTED_WORDS])
    more = f" and {len(cut) - _LISTED_WORDS} more" if len(cut) > _LISTED_WORDS else ""
    return (f'LlamaGen\'s cleaning of captions takes {listed}{more} out of the prompt; what is read is "{caption}"',)


def caption_tokens(tokenizer: Tokenizer, caption: str, caption_length: int) -> list[int]:
    """Token ids of a cleaned prompt and the end mark. Raises `prompt`.

    The official code cuts longer captions off without a word; here they are refused, so that no word is lost unnoticed.
    """
    tokens: list[int] = tokenizer.encode(caption).ids
    if len(tokens) > caption_length:
        raise WorkerError(
            "prompt",
            f"The prompt has {len(tokens)} tokens, with the end mark; LlamaGen takes at most {caption_length}. "
            f"Shorten it.",
            {"tokenCount": len(tokens), "maxTokenCount": caption_length},
        )
    return tokens


def open_text_encoder(weights: Path, given: Path | None) -> OpenedTextEncoder:
    """Opens the directory that was given, else the one beside the weights. Raises `checkpoint`."""
    directory = given or _beside(weights)
    settings = _read_settings(directory)
    checkpoint = open_checkpoint(directory, _SOUGHT)
    checkpoint = checkpoint.renamed(_encoder_names(checkpoint))
    widths = (
        *(settings.d_model, settings.d_ff, settings.d_kv * settings.num_heads, settings.vocab_size),
        settings.relative_attention_num_buckets,
    )
    check_claims(directory / "config.json", checkpoint, parts=settings.num_layers, widths=widths)
    return OpenedTextEncoder(directory, settings, checkpoint, _read_tokenizer(directory, settings))


def _words(text: str) -> list[str]:
    """In lower case, low lines counted as spaces: cleaning changes both."""
    return re.findall(r"[^\W_]+", text.lower())


def _beside(weights: Path) -> Path:
    places = [weights.parent / place for place in OFFICIAL_PLACES]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise WorkerError(
            "checkpoint",
            f"{weights} needs the text encoder FLAN-T5-XL: expected its directory {' or '.join(OFFICIAL_PLACES)} in "
            f"{weights.parent}, found neither. Download {_SOURCE} to {places[0]}, or give its directory with "
            f"`--text-encoder`.",
        )
    return found


def _read_settings(directory: Path) -> TextEncoderSettings:
    path = directory / "config.json"
    try:
        return decode_json(read_small_file(path), TextEncoderSettings)
    except (ValueError, WorkerError) as error:
        raise WorkerError(
            "checkpoint",
            f"{path} is not the configuration of a T5 text encoder: {error}. Expected the files of {_SOURCE} in "
            f"{directory}.",
        ) from error


def _read_tokenizer(directory: Path, settings: TextEncoderSettings) -> Tokenizer:
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise WorkerError("checkpoint", f"The tokenizer {path} is missing. Download tokenizer.json of {_SOURCE}.")
    try:
        tokenizer = Tokenizer.from_buffer(read_small_file(path))
    except Exception as error:  # The library raises no narrower class.
        raise WorkerError(
            "checkpoint", f"{path} is not a tokenizer: {error}. Download tokenizer.json of {_SOURCE} again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.get_vocab_size() > settings.vocab_size or tokenizer.encode("a").ids[-1:] != [settings.eos_token_id]:
        raise WorkerError(
            "checkpoint",
            f"{path} has {tokenizer.get_vocab_size()} tokens and does not belong to the encoder beside it, which has "
            f"{settings.vocab_size} and ends a text with the token {settings.eos_token_id}. Download tokenizer.json of "
            f"{_SOURCE}.",
        )
    return tokenizer


def _encoder_names(checkpoint: Checkpoint) -> Callable[[str], str | None]:
    """Names of T5's whole model to those of its encoder. Some files hold the shared embedding several times, or only as
    the encoder's."""
    has_shared = "shared.weight" in checkpoint.tensors

    def rename(name: str) -> str | None:
        if name == "encoder.embed_tokens.weight":
            return None if has_shared else "shared.weight"
        return name if name == "shared.weight" or name.startswith("encoder.") else None

    return rename


def build_encoder(settings: TextEncoderSettings) -> nn.Module:
    # Imported here since it takes seconds, which other checkpoints need not spend.
    from transformers import T5Config, T5EncoderModel

    fields = (field for field in settings.__struct_fields__ if field != "model_type")
    config = T5Config(**{field: getattr(settings, field) for field in fields})
    # The attention that the official code ran, whatever the library would choose today.
    config._attn_implementation = "eager"
    with without_weights():
        model: Any = T5EncoderModel(config)
    # One tensor, one name.
    model.encoder.embed_tokens = model.shared
    encoder: nn.Module = model.eval()
    return encoder
