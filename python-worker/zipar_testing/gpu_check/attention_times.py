"""What attention takes of a forward, by the kernels that PyTorch may choose for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from zipar_testing.gpu_check.device_clock import Timing, time_run
from zipar_testing.gpu_check.report import Section
from zipar_testing.gpu_check.timed_model import TimedModel
from zipar_worker.execute.attention import StepAttention

NOTE = (
    "Attention: of all layers of a forward alone, over half of the image's slots in two branches, with the keys and "
    "values written. kernels: what PyTorch chooses by itself, and each that can be chosen, where it does not refuse. "
    "first: a shape not seen before; cuDNN builds a plan for each."
)

_KERNELS = {
    "chosen": None,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def measure_attention(section: Section, model: TimedModel, *, rows: Sequence[int], count: int) -> None:
    section.verdict = "measured"
    for row_count in rows:
        for name, kernel in _KERNELS.items():
            timing = _timing(model, row_count, kernel, count)
            section.rows.append(
                {
                    "rows": row_count,
                    "kernels": name,
                    "wall ms": timing.wall if timing else None,
                    "device ms": timing.device if timing else None,
                    "first ms": timing.first if timing else None,
                }
            )


def _timing(model: TimedModel, row_count: int, kernel: SDPBackend | None, count: int) -> Timing | None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # PyTorch gives its reasons as warnings
        try:
            with sdpa_kernel(kernel) if kernel is not None else nullcontext():
                return time_run(_Attention(model, row_count // 2), model.device, warm_ups=1, count=count)
        except RuntimeError:
            return None


class _Attention:
    """All layers' attention of one forward, to be run again and again."""

    def __init__(self, model: TimedModel, query_count: int) -> None:
        executor, key_count = model.served.executor, model.layout.slot_count // 2
        # As the executor rounds them up.
        multiple = executor._padding.keys
        slots = torch.arange(key_count - query_count, key_count, device=model.device).expand(2, -1)
        key_count = -(-key_count // multiple) * multiple
        cache, shape = executor._cache, executor._description.kv_shape
        step = cache.open_step_((0, 1), torch.arange(2, device=model.device), slots, torch.zeros_like(slots), key_count)
        visible = torch.arange(key_count, device=model.device) <= slots[:, None, :, None]
        head_count = executor._description.head_count
        self._attention = StepAttention(step, visible, head_count)
        self._layers = range(shape.layer_count)
        dtype = cache.keys[0].dtype
        size = (2, query_count, head_count + 2 * shape.head_count, shape.head_dim)
        heads = torch.randn(size, device=model.device, dtype=dtype)
        self._parts = heads.split_with_sizes([head_count, shape.head_count, shape.head_count], dim=2)

    def __call__(self) -> None:
        for layer in self._layers:
            self._attention(layer, *self._parts)
