"""Which GPU a model goes to, and why none serves where none does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zipar_worker.execute.gpu_facts import Card, GpuFacts
from zipar_worker.execute.torch_builds import NEWEST_DRIVER, cuda_of_driver, fitting_backend, serves

_HIDING = ("", "-1", "none", "void", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that users write to hide all GPUs."""

_CHECK = "Check the driver with nvidia-smi, and that a container was given the GPU (docker run --gpus all)."


class Problem(NamedTuple):
    found: str
    """A clause without a full stop."""
    remedy: str
    """A sentence."""
    is_news: bool = True
    """Whether whoever leaves the choice of the device to zipar may not know it."""


def choose_card(facts: GpuFacts, free_bytes: Mapping[str, int]) -> Card | None:
    """The one with the most free memory of those that this PyTorch serves; None where there is none.

    free_bytes: by UUID; where it lacks a card, all its memory counts as free.
    """
    return max(
        usable_cards(facts),
        key=lambda card: (free_bytes.get(card.uuid, card.total_bytes), -card.index),
        default=None,
    )


def usable_cards(facts: GpuFacts) -> list[Card]:
    return [card for card in facts.cards if card_problem(facts, card) is None]


def card_problem(facts: GpuFacts, card: Card) -> Problem | None:
    """Why a GPU that PyTorch sees cannot be used."""
    build = facts.build
    if build.hip is not None or not build.architectures or serves(build.architectures, card.capability):
        return None
    major, minor = card.capability
    backend = fitting_backend([card.capability], _driver_cuda(facts))
    return Problem(
        f"PyTorch {build.version} has no code for cuda:{card.index} {card.name}, whose compute capability is "
        f"{major}.{minor}: it is built for {', '.join(build.architectures)}",
        _install(backend) if backend else "No published build of this PyTorch has: use another GPU, or the device cpu.",
    )


def gpu_problem(facts: GpuFacts) -> Problem | None:
    """Why there is no GPU to be used; None where there is one, and where the machine seems to have none."""
    problems = [card_problem(facts, card) for card in facts.cards]
    if problems:
        return None if None in problems else problems[0]
    build, graphics = facts.build, facts.graphics
    if graphics.has_nvidia or facts.driver_cuda:
        return _nvidia_problem(facts)
    if graphics.has_amd and build.hip is None:
        return Problem(
            f"this machine has an AMD GPU, and PyTorch {build.version} is a build without ROCm",
            "`UV_TORCH_BACKEND=auto npx zipar setup` installs one for it; zipar has not been tried on AMD GPUs.",
        )
    if graphics.has_apple:
        return Problem("the GPU of a Mac (MPS) is not supported yet", "The device cpu is.")
    if facts.failure is not None:
        return Problem(f"PyTorch {build.version} finds no GPU: {facts.failure}", _CHECK)
    return None


def _nvidia_problem(facts: GpuFacts) -> Problem:
    build, driver = facts.build, facts.graphics.nvidia_driver
    served = _driver_cuda(facts)
    named = f"the NVIDIA driver {driver}" if driver else "the NVIDIA driver"
    backend = fitting_backend([], served)
    remedy = _install(backend) if backend else f"No build serves {named}: update it to {NEWEST_DRIVER} or newer."
    said = "" if facts.failure is None else f" ({facts.failure})"
    if facts.visible is not None and facts.visible.strip() in _HIDING:
        return Problem(
            f'CUDA_VISIBLE_DEVICES is "{facts.visible}" and hides every GPU',
            "Unset it, or name one that `nvidia-smi -L` lists.",
            is_news=False,
        )
    if build.cuda is None:
        what = "a build without CUDA" if build.hip is None else f"built for ROCm {build.hip}"
        return Problem(f"this machine has an NVIDIA GPU, and PyTorch {build.version} is {what}", remedy)
    if served is None:
        return Problem(
            f"this machine has an NVIDIA GPU, but no driver for it answers{said}",
            f"Install NVIDIA's driver {NEWEST_DRIVER} or newer, and check it with nvidia-smi.",
        )
    if served < int(build.cuda.split(".")[0]):
        version = _dotted(facts.driver_cuda) if facts.driver_cuda else str(served or "11 at most")
        update = f" Or update the driver to {NEWEST_DRIVER} or newer." if backend else ""
        return Problem(
            f"{named} is too old for PyTorch {build.version}: it serves CUDA {version}, the build is for CUDA "
            f"{build.cuda}",
            remedy + update,
        )
    if facts.visible is not None:
        return Problem(
            f'PyTorch {build.version} finds no GPU, and CUDA_VISIBLE_DEVICES is "{facts.visible}"{said}',
            "Unset it, or name GPUs that `nvidia-smi -L` lists.",
        )
    return Problem(f"PyTorch {build.version} finds no GPU, although {named} is there{said}", _CHECK)


def _driver_cuda(facts: GpuFacts) -> int | None:
    """First number of the version of CUDA that the driver serves; None where no driver is known."""
    if facts.driver_cuda:
        return facts.driver_cuda // 1000
    driver = facts.graphics.nvidia_driver
    return None if driver is None else cuda_of_driver(driver)


def _install(backend: str) -> str:
    return f"Install another build of PyTorch: `UV_TORCH_BACKEND={backend} npx zipar setup`."


def _dotted(version: int) -> str:
    """12040 is 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"
