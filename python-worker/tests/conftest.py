"""Set before any test imports PyTorch."""

import gc
import os

# Tiny tensors are not worth several threads: on a busy machine these wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Libraries make many objects that stay: searching them for garbage, meanwhile and later, takes long.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
