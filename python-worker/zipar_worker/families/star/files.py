"""What a STAR checkpoint is, before its tensors are read.

Three things lie side by side: the pickled `STAR-7B.pt`, the pickled image tokenizer `VQ-Model.pt`, and the directory of
the Qwen2.5-VL that STAR was made of, with its tokenizer. The official code builds the model of the latter two and loads
the first over it without minding what is missing there; so here a part that the first holds is that of the first, be
it Qwen's or the image tokenizer's. What STAR itself has trained must be there.

Facts: `star/models/model.py`, `star/configs/` and `inference_generation.py` of MM-MVR/STAR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.links import refuse_outside_links
from zipar_worker.checkpoints.small_files import of_another_kind, read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llama_config import LLAMA_LANDMARKS, LlamaConfig, check_llama_claims, read_llama_config
from zipar_worker.families.star.prompt import TOKENIZER_NAME, StarTokenizer
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, config_of_tensors, sought_tokenizer

CONFIG_NAME = "config.json"
VQ_NAME = "VQ-Model.pt"
MODEL_TYPE = "qwen2_5_vl"

QWEN_PREFIX = "llm."
STACK_PREFIX = "stacked_ar.model."
VQ_PREFIX = "pixel_encoder."

_WEIGHTS_NAME = re.compile(r"^STAR-\d+B\.(?:pt|safetensors)$", re.IGNORECASE)
_QWEN_NAME = re.compile(r"^Qwen2\.5-VL-\d+B-Instruct$", re.IGNORECASE)
_ATTENTION_HEADS = 8
"""Of the image tokenizer: `num_heads` of both official configurations. No tensor tells it."""

DEFAULTS = LlamaConfig(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    max_position_embeddings=128000,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
)
"""Of Qwen2.5-VL-7B-Instruct, for what a file leaves out."""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything known of a checkpoint before its tensors are read."""

    name: str
    checkpoint: Checkpoint
    """Of both stacks, what is around them, and the image tokenizer, under the keys of the official model."""
    config_path: Path
    config: LlamaConfig
    """Of the lower stack; the upper one has layers of the same sizes."""
    stacked_layer_count: int
    adapter_widths: tuple[int, ...]
    image_tokenizer: LlamaGenVQConfig
    image_tokenizer_checkpoint: Checkpoint
    tokenizer: StarTokenizer
    size: tuple[int, int] | None


def find_weights(path: Path) -> Path | None:
    """The file of STAR's own weights: `path` or in it; None where there is none under an official name."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return next((file for file in files if _WEIGHTS_NAME.match(file.name) and file.is_file()), None)


def read_files(path: Path, options: OpenOptions) -> Files:
    """Reads shapes, not tensors. Raises `checkpoint`."""
    weights = find_weights(path) or path
    qwen = _find_qwen(weights, options.text_encoder_path)
    refuse_outside_links(qwen)
    config_path = qwen / CONFIG_NAME
    config = _read_config(config_path)
    star = open_checkpoint(weights, Sought(("pixel_output_head.weight",), key=options.weights_key))
    vq = _image_tokenizer(weights, star, options)
    image_tokenizer = replace(config_of_tensors(vq), attention_heads=_ATTENTION_HEADS, has_unit_codes=False)
    codebook = {f"{VQ_PREFIX}quantize.embedding.weight": vq.tensors["quantize.embedding.weight"]}
    checkpoint = replace(star, tensors={**_qwen_tensors(qwen, star, config), **codebook, **star.tensors})
    check_llama_claims(config_path, checkpoint, config)
    tokenizer = StarTokenizer(qwen / TOKENIZER_NAME)
    if tokenizer.largest_id >= config.vocab_size:
        raise unusable(
            config_path,
            f"it gives the model a vocabulary of {config.vocab_size}, but {tokenizer.path} has the token "
            f"{tokenizer.largest_id}",
        )
    stacked = checkpoint.counted(lambda layer: f"{STACK_PREFIX}layers.{layer}.input_layernorm.weight")
    if not stacked:
        raise WorkerError(
            "checkpoint",
            f"{weights} lacks {STACK_PREFIX}layers.0.input_layernorm.weight and with it the stack of layers that "
            f"draws. It is no STAR: take STAR-7B.pt of MM-MVR/STAR-7B, or STAR-3B.pt.",
        )
    return Files(
        name=weights.stem,
        checkpoint=checkpoint,
        config_path=config_path,
        config=config,
        stacked_layer_count=len(stacked),
        adapter_widths=_adapter_widths(checkpoint, image_tokenizer.embedding_dim, config.hidden_size),
        image_tokenizer=image_tokenizer,
        image_tokenizer_checkpoint=vq,
        tokenizer=tokenizer,
        size=options.size,
    )


def _find_qwen(weights: Path, given: Path | None) -> Path:
    if given is not None:
        return given
    directories = sorted(place for place in weights.absolute().parent.iterdir() if _QWEN_NAME.match(place.name))
    size = re.search(r"\d+B", weights.name, re.IGNORECASE)
    fitting = [place for place in directories if size is not None and f"-{size[0]}-".lower() in place.name.lower()]
    if fitting or len(directories) == 1:
        return (fitting or directories)[0]
    raise WorkerError(
        "checkpoint",
        f"{weights.parent} holds no directory of the Qwen2.5-VL that {weights.name} was made of, such as "
        f"Qwen2.5-VL-7B-Instruct. Download Qwen/Qwen2.5-VL-7B-Instruct (3B for STAR-3B) beside it, or give its "
        f"directory with `--text-encoder DIR`.",
    )


def _read_config(path: Path) -> LlamaConfig:
    fields = read_json(path)
    if fields.get("model_type") != MODEL_TYPE:
        raise of_another_kind(path, fields, f"Qwen2.5-VL ({MODEL_TYPE})")
    inner = fields.get("text_config")
    text: dict[str, Any] = dict(inner) if isinstance(inner, dict) else dict(fields)
    if text.get("use_sliding_window") is True:
        raise unusable(path, "its attention sees a sliding window (use_sliding_window); expected false")
    scaling = text.get("rope_scaling")
    # Time, height and width of a text's positions, and of drawn tokens, are one and the same number.
    if isinstance(scaling, dict) and scaling.get("rope_type", scaling.get("type")) == "mrope":
        del text["rope_scaling"]
    return read_llama_config(path, text, DEFAULTS)


def _qwen_tensors(directory: Path, star: Checkpoint, config: LlamaConfig) -> dict[str, Tensor]:
    """Those of Qwen's language model, unless STAR's file holds all of them."""
    last = f"{QWEN_PREFIX}model.layers.{config.num_hidden_layers - 1}.mlp.down_proj.weight"
    needed = (f"{QWEN_PREFIX}model.embed_tokens.weight", f"{QWEN_PREFIX}model.norm.weight", last)
    if all(key in star.tensors for key in needed):
        return {}
    return {
        f"{QWEN_PREFIX}{key}": tensor
        for key, tensor in open_checkpoint(directory, Sought(LLAMA_LANDMARKS)).tensors.items()
    }


def _image_tokenizer(weights: Path, star: Checkpoint, options: OpenOptions) -> Checkpoint:
    own = {key.removeprefix(VQ_PREFIX): tensor for key, tensor in star.tensors.items() if key.startswith(VQ_PREFIX)}
    given = options.vq_path
    path = given / VQ_NAME if given is not None and given.is_dir() else given or weights.parent / VQ_NAME
    if given is None and not path.is_file() and "quantize.embedding.weight" in own:
        return replace(star, tensors=own)
    if not path.is_file():
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer {path} does not exist; codes are embedded by it. Download {VQ_NAME} of "
            f"MM-MVR/STAR-VQ beside {weights.name}, or give it with `--vq FILE`.",
        )
    vq = open_checkpoint(path, sought_tokenizer(options.weights_key))
    return replace(vq, tensors={**vq.tensors, **own})


def _adapter_widths(checkpoint: Checkpoint, code_dim: int, dim: int) -> tuple[int, ...]:
    """From the length of a code to the width of the transformer."""
    names = checkpoint.counted(lambda layer: f"pixel_adapter.layers.{2 * layer}.weight")
    shapes = [tuple(checkpoint.tensors[name].shape) for name in names]
    ends = [code_dim, *(shape[0] if shape else 0 for shape in shapes)]
    if not shapes or ends[-1] != dim or [shape[-1:] for shape in shapes] != [(width,) for width in ends[:-1]]:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path}: its adapter (pixel_adapter.layers) has the shapes {[list(shape) for shape in shapes]};"
            f" expected maps from the {code_dim} numbers of a code to the {dim} of Qwen2.5-VL. Take all three parts of "
            f"one size, 3B or 7B.",
        )
    return tuple(ends)
