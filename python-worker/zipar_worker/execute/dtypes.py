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

_FIRST_WITH_BFLOAT16 = 8
"""First number of the compute capability of NVIDIA's Ampere. Older GPUs emulate bfloat16, far slower than float32."""


def resolve_dtype(name: Literal["auto"] | TypeName, device: torch.device, fits_float16: bool) -> TypeName:
    """For "auto": float32 on the CPU; on a GPU bfloat16, or on one without it float16 where the model's family
    `fits_float16`, whose range others overflow, and else float32.
    """
    if name != "auto":
        return name
    if device.type == "cpu":
        return "float32"
    if torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= _FIRST_WITH_BFLOAT16:
        return "bfloat16"
    return "float16" if fits_float16 else "float32"
