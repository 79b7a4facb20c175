"""`--probe`: what is installed and which devices are there, as one JSON object for `zipar doctor` and set-up."""

from __future__ import annotations

import gc
import json
import platform
from typing import Any


def print_probe() -> int:
    """Prints the probe, or `{"error": ...}` with exit code 1 where an import fails, and returns the exit code."""
    try:
        result = probe()
    # Broken installations raise OSError (missing shared libraries), RuntimeError and more, besides ImportError.
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return 1
    print(json.dumps(result))
    return 0


def probe() -> dict[str, Any]:
    """Imports everything that the worker needs. `cuda` is the CUDA version of the build, None for a CPU build."""
    gc.disable()  # as in the worker, which says why
    import msgspec
    import safetensors
    import torch
    import zmq

    devices = []
    for device in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(device)
        devices.append({"name": properties.name, "memoryBytes": properties.total_memory})
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudaDevices": devices,
        "zmq": zmq.__version__,
        "msgspec": msgspec.__version__,
        "safetensors": safetensors.__version__,
        "threads": torch.get_num_threads(),
    }
