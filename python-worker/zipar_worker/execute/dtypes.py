"""In which number type a model runs."""

from __future__ import annotations

from typing import Literal

import torch

from zipar_worker.wire.protocol import TypeName

DTYPES: dict[TypeName, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_dtype(name: Literal["auto"] | TypeName, device: torch.device) -> TypeName:
    """For "auto": float32 on the CPU, bfloat16 on CUDA."""
    if name != "auto":
        return name
    return "float32" if device.type == "cpu" else "bfloat16"
