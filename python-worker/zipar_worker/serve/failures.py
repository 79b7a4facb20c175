"""Tells which exceptions the worker survives, and puts them into words for the wire. Never imports torch."""

from __future__ import annotations

import sys
import traceback
from typing import NamedTuple

from zipar_worker.errors import FatalWorkerError, WorkerError
from zipar_worker.wire.protocol import ErrorBody

EXIT_FATAL = 70
"""`EX_SOFTWARE` of sysexits.h."""

_FATAL_TEXTS = ("device-side assert", "CUDA error", "CUBLAS_STATUS", "cuDNN error")
"""After these the CUDA context of the process is lost; only a new process helps."""

_OUT_OF_MEMORY_CLASSES = {"OutOfMemoryError", "MemoryError"}
"""`torch.OutOfMemoryError`, known under older names too, is matched by name, so that torch need not be imported."""


class Failure(NamedTuple):
    body: ErrorBody
    fatal: bool


def describe_failure(error: BaseException) -> Failure:
    """The `error` of a reply, and whether the worker must exit after it."""
    if isinstance(error, WorkerError):
        cause = error.__cause__
        body = ErrorBody(code=error.code, message=error.message, details=error.details)
        if cause is not None:
            body = ErrorBody(code=error.code, message=error.message, details=error.details, traceback=_traceback(cause))
        return Failure(body, fatal=isinstance(error, FatalWorkerError) or (cause is not None and _is_fatal(cause)))
    if _is_out_of_memory(error):
        body = ErrorBody(code="out-of-memory", message=f"out of memory: {error}", traceback=_traceback(error))
        return Failure(body, fatal=False)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("zipar_"):
        body = ErrorBody(code="python-environment", message=_lacks(error.name), traceback=_traceback(error))
        return Failure(body, fatal=False)
    fatal = _is_fatal(error)
    body = ErrorBody(
        code="device" if fatal else "internal",
        message=f"{type(error).__name__}: {error}",
        traceback=_traceback(error),
    )
    return Failure(body, fatal)


def _lacks(module: str) -> str:
    return (
        f"the worker's Python ({sys.executable}) lacks the module {module}, which this needs. Install the packages of "
        "python-worker/requirements.lock into it, or use the environment that `npx zipar setup` makes."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    names = {ancestor.__name__ for ancestor in type(error).__mro__}
    # The CPU allocator of PyTorch raises a plain RuntimeError.
    return bool(names & _OUT_OF_MEMORY_CLASSES) or "can't allocate memory" in str(error)


def _is_fatal(error: BaseException) -> bool:
    if not isinstance(error, RuntimeError) or _is_out_of_memory(error):
        return False
    return any(text in str(error) for text in _FATAL_TEXTS)


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
