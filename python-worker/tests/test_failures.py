"""Which exceptions the worker survives, and what it says of them."""

from __future__ import annotations

import pytest

from zipar_worker.errors import WorkerError
from zipar_worker.serve.failures import describe_failure


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's, which says "CUDA out of memory"."""


def test_a_worker_error_keeps_its_code_and_details() -> None:
    body, fatal = describe_failure(WorkerError("checkpoint", "no such key", {"key": "output.weight"}))
    assert (body.code, body.message, body.details, fatal) == (
        "checkpoint",
        "no such key",
        {"key": "output.weight"},
        False,
    )


@pytest.mark.parametrize(
    ("error", "code", "fatal"),
    [
        (MemoryError(), "out-of-memory", False),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory", False),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "out-of-memory",
            False,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), "device", True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device", True),
        (RuntimeError("shapes do not match"), "internal", False),
        (KeyError("x"), "internal", False),
        (ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers"), "python-environment", False),
        (ModuleNotFoundError("No module named 'zipar_worker.x'", name="zipar_worker.x"), "internal", False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_exceptions_are_sorted_by_what_they_are(error: Exception, code: str, fatal: bool) -> None:
    failure = describe_failure(error)
    assert (failure.body.code, failure.fatal) == (code, fatal)
    assert isinstance(failure.body.traceback, str)


def test_a_broken_device_behind_a_worker_error_is_fatal() -> None:
    error = WorkerError("device", "the forward failed")
    error.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
    body, fatal = describe_failure(error)
    assert fatal and body.code == "device"
