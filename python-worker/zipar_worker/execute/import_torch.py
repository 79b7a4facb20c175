"""Imports PyTorch as every process that computes wants it."""

from __future__ import annotations

import gc
import os
import warnings


def import_torch_() -> None:
    """Settles the number of threads, and gives back the memory of a model that is gone."""
    # PyTorch would warn of it at import; the worker does without NumPy.
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
    # Importing makes 270,000 objects that stay: searching them for garbage meanwhile is a third of the time.
    gc.disable()
    from zipar_worker.machine.threads import settle_threads_

    threads = settle_threads_(os.environ)
    import torch

    import zipar_worker.execute.executor  # noqa: F401 - with all that it imports, before the objects are frozen
    from zipar_worker.execute.devices import release_unused_memory

    torch.set_num_threads(threads.count)
    if torch.get_num_interop_threads() != threads.count:
        torch.set_num_interop_threads(threads.count)  # works once, before anything uses them

    gc.freeze()
    gc.enable()
    release_unused_memory()
