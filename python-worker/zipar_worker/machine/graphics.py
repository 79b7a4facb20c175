"""Which graphics processors this machine has, whether PyTorch can use them or not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"
_VERSION = re.compile(r"\b\d{3}\.\d+(?:\.\d+)?\b")
_ANSWER_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Graphics:
    """What was found. A machine may have several kinds."""

    has_nvidia: bool = False
    nvidia_driver: str | None = None
    """Its version, e.g. "550.54.15"; None where it does not answer."""
    has_amd: bool = False
    has_apple: bool = False


def find_graphics(root: Path = ROOT) -> Graphics:
    """Asks files, and `nvidia-smi` where these do not tell. root: of the file system, another one in tests."""
    driver = _driver_of_files(root) or _driver_of_nvidia_smi()
    nodes = any(path.name[6:].isdecimal() for path in root.glob("dev/nvidia*"))
    return Graphics(
        has_nvidia=driver is not None or nodes or _has_nvidia_card(root),
        nvidia_driver=driver,
        has_amd=(root / "dev/kfd").exists(),
        has_apple=sys.platform == "darwin",
    )


def free_bytes_by_uuid() -> Mapping[str, int]:
    """Free memory of NVIDIA's cards, without a context on each, which would take memory there for good."""
    answer = _ask_nvidia_smi("uuid,memory.free") or ""
    pairs = (line.split(", ") for line in answer.splitlines())
    return {pair[0]: int(pair[1]) * 2**20 for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _driver_of_files(root: Path) -> str | None:
    try:
        return _version_in((root / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _driver_of_nvidia_smi() -> str | None:
    return _version_in(_ask_nvidia_smi("driver_version") or "")


def _version_in(text: str) -> str | None:
    found = _VERSION.search(text)
    return found[0] if found else None


def _ask_nvidia_smi(fields: str) -> str | None:
    """None where there is no such program, or no card that it can talk to."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout if answer.returncode == 0 else None


def _has_nvidia_card(root: Path) -> bool:
    return any(
        _word(vendor) == _NVIDIA and _word(vendor.with_name("class")).startswith(_DISPLAY_CLASS)
        for vendor in root.glob("sys/bus/pci/devices/*/vendor")
    )


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
