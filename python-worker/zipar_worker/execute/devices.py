"""Where a model runs, and whether it fits there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from zipar_worker.errors import WorkerError
from zipar_worker.execute.gpu_choice import card_problem, choose_card, gpu_problem, usable_cards
from zipar_worker.execute.gpu_facts import GpuFacts, gather_gpu_facts
from zipar_worker.machine import memory
from zipar_worker.machine.graphics import free_bytes_by_uuid


class Placement(NamedTuple):
    device: torch.device
    warning: str | None
    """What whoever left the choice to us should know of it."""


def resolve_device(name: str) -> Placement:
    """For "auto" a GPU where there is one to be used, else the CPU. Raises `device` for a device that is not there."""
    if name == "cpu":
        return Placement(torch.device("cpu"), None)
    facts = gather_gpu_facts()
    if name.startswith("cuda:"):
        return Placement(_numbered(name, facts), None)
    card = choose_card(facts, free_bytes_by_uuid() if len(usable_cards(facts)) > 1 else {})
    if card is not None:
        return Placement(torch.device("cuda", card.index), None)
    if name == "auto":
        return Placement(torch.device("cpu"), _warning(facts))
    raise _unavailable(name, facts)


def _numbered(name: str, facts: GpuFacts) -> torch.device:
    index = int(name.partition(":")[2])
    card = next((card for card in facts.cards if card.index == index), None)
    if card is None and facts.cards:
        listed = ", ".join(f"cuda:{card.index} {card.name}" for card in facts.cards)
        raise WorkerError("device", f"The device {name!r} is not available: expected one of {listed}.")
    problem = card_problem(facts, card) if card is not None else None
    if problem is not None:
        raise WorkerError("device", f"The device {name!r} cannot be used: {problem.found}. {problem.remedy}")
    if card is None:
        raise _unavailable(name, facts)
    return torch.device("cuda", index)


def _unavailable(name: str, facts: GpuFacts) -> WorkerError:
    problem = gpu_problem(facts)
    if problem is not None:
        return WorkerError(
            "device",
            f"The device {name!r} is not available: {problem.found}. {problem.remedy} The device cpu needs no GPU.",
        )
    build = facts.build
    why = "is built without CUDA" if build.cuda is None and build.hip is None else "finds no CUDA device"
    return WorkerError(
        "device",
        f"The device {name!r} is not available: PyTorch {build.version} {why}. Use the device cpu or auto, or "
        f"install a CUDA build of PyTorch and check the driver with nvidia-smi.",
    )


def _warning(facts: GpuFacts) -> str | None:
    problem = gpu_problem(facts)
    if problem is None or not problem.is_news:
        return None
    return f"the model runs on the CPU: {problem.found}. {problem.remedy} With the device cpu this is not said."


def release_unused_memory() -> None:
    """Gives back to the devices what PyTorch keeps of tensors that are gone, so that it counts as free."""
    torch.cuda.empty_cache()  # nothing where no GPU was used


def describe_device(device: torch.device) -> str:
    """e.g. "cpu" or "cuda:0 NVIDIA H100"."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def check_memory(what: str, wanted_bytes: int, device: torch.device) -> None:
    """Raises `out-of-memory` before an allocation that cannot succeed."""
    free_bytes = free_memory(device)
    if free_bytes is not None and wanted_bytes > free_bytes:
        raise _out_of_memory(what, device, {"wantedBytes": wanted_bytes, "freeBytes": free_bytes})


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = memory.free_memory()
    return None if free is None else free.free_bytes


@contextmanager
def naming_memory(what: str, device: torch.device) -> Iterator[None]:
    """Turns a failed allocation into `out-of-memory`, after giving unused memory back."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise _out_of_memory(what, device, {"freeBytes": free_memory(device)}) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise _out_of_memory(what, device, {"freeBytes": free_memory(device)}) from error


def _out_of_memory(what: str, device: torch.device, details: dict[str, int | None]) -> WorkerError:
    figures = " and ".join(
        f"{memory.gibibytes(count)} {meaning}"
        for key, meaning in (("wantedBytes", "are needed"), ("freeBytes", "are free"))
        if (count := details.get(key)) is not None
    )
    limit = _limit(device)
    return WorkerError(
        "out-of-memory",
        f"Not enough memory on {device} for {what}: {figures}{limit and f', by {limit}'}. Generate fewer images at a "
        f"time, use a smaller model or a dtype of 16 bits{limit and ', or raise that limit'}.",
        details,
    )


def _limit(device: torch.device) -> str:
    """What keeps the free memory below what the machine has; empty where nothing does."""
    free = memory.free_memory() if device.type == "cpu" else None
    return "" if free is None or free.limit is None else free.limit
