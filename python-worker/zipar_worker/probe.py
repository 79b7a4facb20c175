"""`--probe`: what is installed and which devices are there, as one JSON object for `zipar doctor` and set-up."""

from __future__ import annotations

import gc
import json
import os
import platform
from typing import Any

from zipar_worker.machine.memory import free_memory
from zipar_worker.machine.threads import settle_threads_


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
    threads = settle_threads_(os.environ)
    import msgspec
    import safetensors
    import torch
    import zmq

    from zipar_worker.execute.gpu_choice import card_problem, gpu_problem
    from zipar_worker.execute.gpu_facts import gather_gpu_facts

    facts = gather_gpu_facts()
    problem, memory = gpu_problem(facts), free_memory()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudaDevices": [
            {"name": card.name, "memoryBytes": card.total_bytes, "problem": found and found.found}
            for card in facts.cards
            for found in [card_problem(facts, card)]
        ],
        "gpuProblem": problem and {"found": problem.found, "remedy": problem.remedy},
        "zmq": zmq.__version__,
        "msgspec": msgspec.__version__,
        "safetensors": safetensors.__version__,
        "threads": {"count": threads.count, "reason": threads.reason},
        "memory": memory and {"freeBytes": memory.free_bytes, "limit": memory.limit},
    }
