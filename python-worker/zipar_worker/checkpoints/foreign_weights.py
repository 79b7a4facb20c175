"""Weights that are not a model's own: quantised ones, and adapters to a model. Named, with what to take instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zipar_worker.checkpoints.small_files import glance_json
from zipar_worker.errors import WorkerError

ADAPTER_CONFIG_NAME = "adapter_config.json"

_QUANTISED: tuple[tuple[str, str], ...] = (
    (r"\.(?:absmax|quant_map|nested_absmax|quant_state\..+|SCB|weight_format)$", "bitsandbytes"),
    (r"\.(?:qweight|qzeros|g_idx)$", "GPTQ or AWQ"),
    (r"\.W_q$", "HQQ"),
    (r"\.weight_packed$|\.weight_shape$|\.weight_zero_point$", "compressed-tensors"),
    (r"(?:\.|_)weight_(?:scale|scale_inv|qdata)$|\.(?:input|weight|output)_scale$|\.scale_weight$|^scaled_fp8$", "fp8"),
    (r"\._data$|:_data$|\._scale$|\.(?:qdata|tensor_impl)(?:\.|$)", "torchao or quanto"),
)
"""Tensors that stand beside or in place of a quantised matrix."""
_ADAPTER = re.compile(
    r"\.(?:lora_(?:A|B|down|up|embedding_[AB]|magnitude_vector)|base_layer|hada_[wt]\d\w*|lokr_[wt]\d\w*|ia3_l|oft_\w+"
    r"|boft_\w+|vera_lambda_[bd])(?:\.|$)|^base_model\.model\."
)


def refuse_foreign_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """path: the file or directory that holds them. Raises `checkpoint` for quantised weights and for adapters."""
    adapter = next((key for key in tensors if _ADAPTER.search(key)), None)
    if adapter is not None:
        raise _holds_adapters(path, adapter)
    method = next((name for pattern, name in _QUANTISED for key in tensors if re.search(pattern, key)), None)
    found = method or next(
        (f"{key} is stored as {tensor.dtype}" for key, tensor in tensors.items() if _is_packed(key, tensor)), None
    )
    if found is not None:
        raise _is_quantised(path, found)


def refuse_adapter_directory(directory: Path) -> None:
    """Raises `checkpoint` for a directory with an adapter, whatever else it holds."""
    fields = glance_json(directory / ADAPTER_CONFIG_NAME)
    if fields is not None:
        raise WorkerError(
            "checkpoint",
            f"{directory} holds an adapter ({_text(fields, 'peft_type') or 'LoRA'}) to "
            f"{_text(fields, 'base_model_name_or_path') or 'a model'}, no whole model. {_MERGE}",
        )


_MERGE = (
    "Merge it into that model and save the whole: `model.merge_and_unload().save_pretrained(DIR)` with peft, beside "
    f"the model's tokenizer, without {ADAPTER_CONFIG_NAME}."
)


def _holds_adapters(path: Path, key: str) -> WorkerError:
    fields = glance_json(_directory(path) / ADAPTER_CONFIG_NAME) or {}
    base = _text(fields, "base_model_name_or_path")
    return WorkerError(
        "checkpoint",
        f"{path} holds adapters (LoRA or the like: {key}){f' to {base}' if base else ''} beside or in place of a "
        f"model's own weights. {_MERGE}",
    )


def _is_packed(key: str, tensor: Tensor) -> bool:
    """Whether a tensor is a matrix of numbers that need a scale to mean something."""
    is_matrix = tensor.dim() >= 2 and key.endswith("weight")
    return is_matrix and (not tensor.is_floating_point() or tensor.dtype.itemsize < torch.float16.itemsize)


def _is_quantised(path: Path, found: str) -> WorkerError:
    fields = glance_json(_directory(path) / "config.json") or {}
    parts = [fields, *(part for part in fields.values() if isinstance(part, dict))]
    quantisation: Mapping[str, Any] = next(
        (part["quantization_config"] for part in parts if isinstance(part.get("quantization_config"), dict)), {}
    )
    bits = 4 if quantisation.get("load_in_4bit") else 8 if quantisation.get("load_in_8bit") else None
    bits = bits or quantisation.get("bits") or quantisation.get("w_bit")
    method = _text(quantisation, "quant_method") or found
    base = _text(fields, "_name_or_path") or _text(quantisation, "base_model_name_or_path")
    return WorkerError(
        "checkpoint",
        f"{path} is quantised ({method}{f', {bits} bit' if isinstance(bits, int) else ''}); full weights are needed, "
        f"in float32, bfloat16 or float16. Take the checkpoint from which it was made{f', {base}' if base else ''}; "
        f"`--dtype bfloat16` halves the memory of one in float32.",
    )


def _directory(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
