"""Set before any test imports PyTorch."""

import os

# Tiny tensors are not worth several threads: on a busy machine these wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
