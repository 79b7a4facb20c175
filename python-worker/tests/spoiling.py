"""Ways of spoiling a checkpoint, and what is expected then.

A file is replaced, never written to: it may be a link to that of a checkpoint which other tests use.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions

Spoilt: TypeAlias = tuple[Callable[[Path], object], str]
"""What is done to the directory, and what the refusal says."""


def check_refused(path: Path, spoilt: Spoilt, options: OpenOptions) -> None:
    spoil, message = spoilt
    spoil(path)
    with pytest.raises(WorkerError, match=message) as caught:
        open_family(path, options).load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    assert caught.value.code == "checkpoint"


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Replaces the shards by one file with changed tensors."""
    state: dict[str, Tensor] = {}
    for shard in directory.glob("model-*.safetensors"):
        state |= load_file(shard)
        shard.unlink()
    (directory / "model.safetensors.index.json").unlink()
    changed = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in change(state).items()}
    save_file(changed, directory / "model.safetensors")


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    assert all(name in state for name in names)
    return {key: tensor for key, tensor in state.items() if key not in names}


def replace_bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content))


def flip_bits(path: Path) -> None:
    """Of the header, where a safetensors file says what it holds."""
    replace_bytes(path, lambda content: content[:9] + bytes([content[9] ^ 0xFF]) + content[10:])


def cut(path: Path) -> None:
    """Its end is missing."""
    replace_bytes(path, lambda content: content[:-100])


def replace_text(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before
    path.unlink()
    path.write_text(after)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, text[:2000]
    path.unlink()
    path.write_text(text.replace(before, after))


def set_fields(path: Path, **fields: object) -> None:
    """Of a JSON object."""
    replace_text(path, lambda text: json.dumps(json.loads(text) | fields))
