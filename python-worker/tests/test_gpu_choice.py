"""Which device a model gets, on machines that are made up: what PyTorch and the driver would say of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zipar_worker.errors import WorkerError
from zipar_worker.execute import devices, gpu_facts
from zipar_worker.execute.devices import resolve_device
from zipar_worker.execute.dtypes import resolve_dtype
from zipar_worker.execute.gpu_choice import choose_card
from zipar_worker.execute.gpu_facts import Build, Card, GpuFacts, gather_gpu_facts
from zipar_worker.execute.torch_builds import fitting_backend, serves
from zipar_worker.machine.graphics import Graphics

CUDA_13 = Build("2.13.0+cu130", "13.0", None, ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"))
WITHOUT_CUDA = Build("2.13.0+cpu", None, None, ())
NVIDIA = Graphics(has_nvidia=True, nvidia_driver="550.54.15")
GIB = 2**30


@pytest.fixture(autouse=True)
def intel_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def card(index: int, capability: tuple[int, int], gibibytes: int = 16) -> Card:
    return Card(index, f"Card {index}", capability, gibibytes * GIB, f"GPU-{index}")


def on(monkeypatch: pytest.MonkeyPatch, facts: GpuFacts, free: dict[str, int] | None = None) -> None:
    monkeypatch.setattr(devices, "gather_gpu_facts", lambda: facts)
    monkeypatch.setattr(devices, "free_bytes_by_uuid", lambda: free or {})


CASES: dict[str, tuple[GpuFacts, str | None, str]] = {
    # what is found, what "auto" says of it (None: nothing), what the error of "cuda" says besides
    "a driver that PyTorch calls too old": (
        GpuFacts(CUDA_13, driver_cuda=12040, failure="The NVIDIA driver on your system is too old"),
        "serves CUDA 12.4, the build is for CUDA 13.0",
        "UV_TORCH_BACKEND=cu126 npx zipar setup",
    ),
    "a driver that only its files know": (
        GpuFacts(CUDA_13, driver_cuda=0, graphics=NVIDIA),
        "driver 550.54.15 is too old",
        "UV_TORCH_BACKEND=cu126 npx zipar setup",
    ),
    "a driver too old for every build": (
        GpuFacts(CUDA_13, graphics=Graphics(has_nvidia=True, nvidia_driver="470.256.02")),
        "driver 470.256.02 is too old",
        "No build serves the NVIDIA driver 470.256.02: update it",
    ),
    "a build without CUDA": (
        GpuFacts(WITHOUT_CUDA, graphics=NVIDIA),
        "is a build without CUDA",
        "UV_TORCH_BACKEND=cu126 npx zipar setup",
    ),
    "a build without CUDA under a new driver": (
        GpuFacts(WITHOUT_CUDA, graphics=Graphics(has_nvidia=True, nvidia_driver="580.65.06")),
        "is a build without CUDA",
        "UV_TORCH_BACKEND=cu130 npx zipar setup",
    ),
    "a build for ROCm": (
        GpuFacts(Build("2.13.0+rocm7.1", None, "7.1", ("gfx942",)), graphics=NVIDIA),
        "is built for ROCm 7.1",
        "UV_TORCH_BACKEND=cu126 npx zipar setup",
    ),
    "an AMD card": (
        GpuFacts(CUDA_13, graphics=Graphics(has_amd=True)),
        "a build without ROCm",
        "UV_TORCH_BACKEND=auto npx zipar setup",
    ),
    "no driver": (
        GpuFacts(CUDA_13, driver_cuda=0, graphics=Graphics(has_nvidia=True)),
        "no driver for it answers",
        "Install NVIDIA's driver",
    ),
    "a card that is not given to a container": (
        GpuFacts(CUDA_13, graphics=Graphics(has_nvidia=True, nvidia_driver="580.65.06")),
        "finds no GPU, although the NVIDIA driver 580.65.06 is there",
        "--gpus all",
    ),
    "cards hidden on purpose": (
        GpuFacts(CUDA_13, visible="", driver_cuda=13000),
        None,
        'CUDA_VISIBLE_DEVICES is ""',
    ),
    "cards hidden by a wrong number": (
        GpuFacts(CUDA_13, visible="7", driver_cuda=13000),
        'CUDA_VISIBLE_DEVICES is "7"',
        "Unset it",
    ),
    "a probe that raised": (
        GpuFacts(CUDA_13, failure="CUDA unknown error", driver_cuda=13000),
        "CUDA unknown error",
        "nvidia-smi",
    ),
    "a card too old for the build": (
        GpuFacts(CUDA_13, (card(0, (7, 0)),)),
        "no code for cuda:0 Card 0, whose compute capability is 7.0",
        "UV_TORCH_BACKEND=cu126 npx zipar setup",
    ),
    "a card too old for every build": (GpuFacts(CUDA_13, (card(0, (3, 5)),)), "3.5", "No published build"),
    "a Mac": (GpuFacts(WITHOUT_CUDA, graphics=Graphics(has_apple=True)), "MPS", "cpu"),
    "nothing": (GpuFacts(CUDA_13), None, "finds no CUDA device"),
    "nothing for a build without CUDA": (GpuFacts(WITHOUT_CUDA), None, "is built without CUDA"),
}


@pytest.mark.parametrize(("facts", "warning", "error"), CASES.values(), ids=CASES.keys())
def test_auto_takes_the_cpu_and_says_why_and_cuda_is_refused_with_the_remedy(
    facts: GpuFacts, warning: str | None, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, facts)
    placement = resolve_device("auto")
    assert placement.device == torch.device("cpu")
    if warning is None:
        assert placement.warning is None
    else:
        assert warning in (placement.warning or "") and "runs on the CPU" in (placement.warning or "")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(WorkerError) as caught:
            resolve_device(name)
        assert caught.value.code == "device"
        assert error in caught.value.message and repr(name) in caught.value.message
    assert resolve_device("cpu") == (torch.device("cpu"), None)


def test_of_several_cards_the_usable_one_with_the_most_free_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = GpuFacts(CUDA_13, (card(0, (6, 1), 48), card(1, (8, 6), 24), card(2, (8, 9), 16), card(3, (8, 6), 24)))
    on(monkeypatch, facts)
    assert resolve_device("auto") == (torch.device("cuda", 1), None)
    on(monkeypatch, facts, {"GPU-0": 48 * GIB, "GPU-1": GIB, "GPU-2": 15 * GIB, "GPU-3": 2 * GIB})
    assert resolve_device("auto") == resolve_device("cuda") == (torch.device("cuda", 2), None)
    assert resolve_device("cuda:3").device == torch.device("cuda", 3)
    with pytest.raises(WorkerError, match=r"cuda:0.*compute capability is 6\.1"):
        resolve_device("cuda:0")
    with pytest.raises(WorkerError, match=r"'cuda:4' is not available: expected one of cuda:0 Card 0, cuda:1"):
        resolve_device("cuda:4")


def test_builds_for_rocm_and_of_unknown_architectures_are_trusted() -> None:
    for build in (Build("2.13.0+rocm7.1", None, "7.1", ("gfx942",)), Build("2.13.0a0", "13.0", None, ())):
        assert choose_card(GpuFacts(build, (card(0, (3, 0)),)), {}) is not None


@pytest.mark.parametrize(
    ("architectures", "capability", "does"),
    [
        (("sm_80",), (8, 6), True),
        (("sm_86",), (8, 0), False),
        (("sm_80",), (9, 0), False),
        (("sm_80", "compute_80"), (9, 0), True),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("sm_100",), (10, 3), True),
        (("sm_120",), (12, 1), True),
        (("gfx90a", ""), (9, 0), False),
    ],
)
def test_code_runs_on_its_own_and_on_later_cards_of_the_same_number(
    architectures: tuple[str, ...], capability: tuple[int, int], does: bool
) -> None:
    assert serves(architectures, capability) is does


@pytest.mark.parametrize(
    ("capabilities", "driver", "backend"),
    [
        ([], None, "cu130"),
        ([], 12, "cu126"),
        ([], 11, None),
        ([(7, 0)], 13, "cu126"),
        ([(12, 0)], 12, "cu129"),
        ([(12, 0)], 13, "cu130"),
        ([(5, 2), (12, 0)], 13, None),
    ],
)
def test_the_build_that_is_recommended_serves_driver_and_cards(
    capabilities: list[tuple[int, int]], driver: int | None, backend: str | None
) -> None:
    assert fitting_backend(capabilities, driver) == backend


def test_a_probe_that_raises_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    monkeypatch.setattr(torch.cuda, "get_arch_list", fail)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", fail, raising=False)
    monkeypatch.setattr(gpu_facts, "find_graphics", lambda: NVIDIA)
    facts = gather_gpu_facts()
    assert facts.cards == () and facts.failure == "CUDA error: uncorrectable ECC error encountered"
    assert resolve_device("auto").device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", fail)
    assert resolve_device("auto").device == torch.device("cpu")


def test_the_driver_is_asked_through_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "cu126" in (resolve_device("auto").warning or "")


def test_cards_are_read_from_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=15 * GIB, uuid="ab-cd")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert gather_gpu_facts().cards == (Card(0, "Tesla T4", (7, 5), 15 * GIB, "GPU-ab-cd"),)


@pytest.mark.parametrize(
    ("capability", "fits_float16", "dtype"),
    [((7, 5), True, "float16"), ((7, 0), False, "float32"), ((8, 0), True, "bfloat16"), ((12, 0), False, "bfloat16")],
)
def test_cards_without_bfloat16_get_float16_where_the_family_fits_it_and_else_float32(
    capability: tuple[int, int], fits_float16: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_dtype("auto", torch.device("cuda", 0), fits_float16) == dtype
    assert resolve_dtype("bfloat16", torch.device("cuda", 0), fits_float16) == "bfloat16"
    assert resolve_dtype("auto", torch.device("cpu"), fits_float16) == "float32"
