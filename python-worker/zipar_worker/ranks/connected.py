"""Ranks that exchange tensors, by `torch.distributed`: NCCL between GPUs, gloo between processes on a CPU."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as distributed
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.progress_count import advance_
from zipar_worker.execute.ranks import Ranks

_VARIABLES = {
    # Nothing listens beyond this machine.
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    # Who notices that a rank hangs is the SDK, which knows how long its work has taken before.
    "TORCH_NCCL_ENABLE_MONITORING": "0",
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
}
_PATIENCE = timedelta(days=1)


class ConnectedRanks(Ranks):
    """Those of this process once `connect` has returned."""

    def connect(self, device: torch.device, store: int) -> None:
        """Waits for all ranks. store: descriptor of a file in memory that they share, where they find each other.

        Raises `device`.
        """
        backend = "nccl" if device.type == "cuda" else "gloo"
        if not distributed.is_available() or not distributed.is_backend_available(backend):
            raise WorkerError(
                "device",
                f"A model cannot be split over {self.count} devices here: PyTorch {torch.__version__} is built without "
                f"{backend}. Install another build, or use one device.",
            )
        for name, value in _VARIABLES.items():
            os.environ.setdefault(name, value)
        if distributed.is_initialized():
            distributed.destroy_process_group()
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        distributed.init_process_group(
            backend,
            store=distributed.FileStore(f"/proc/self/fd/{store}", self.count),
            rank=self.rank,
            world_size=self.count,
            timeout=_PATIENCE,
            device_id=device if on_gpu else None,
        )
        self.sum_(torch.ones(1, device=device)).item()  # only now is every connection open

    def sum_(self, part: Tensor) -> Tensor:
        # Rounded once, not once for each rank.
        summed = part if part.device.type == "cuda" else part.float()
        distributed.all_reduce(summed)
        advance_()
        return summed.to(part.dtype)

    def join(self, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.count)]
        distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=-1)

    def from_first(self, tensor: Tensor) -> Tensor:
        """What the first rank has. tensor: of the same shape and type on every rank; overwritten on the others."""
        distributed.broadcast(tensor, src=0)
        return tensor
