"""LlamaGen checkpoints for captions whose weights follow a recipe that the fixtures rely on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zipar_testing.tiny.__main__ import main as write_tiny


def write_caption_checkpoint(directory: Path, seed: int, tokenizer: object, options: Mapping[str, int]) -> Path:
    """A tiny checkpoint with a sidecar whose tensors and tokenizer are replaced by those of the fixtures."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    write_tiny(["llamagen", "--text", "--out", str(directory), *arguments])
    shards = sorted((directory / "flan-t5-xl").glob("*.safetensors"))
    for offset, files in enumerate(([directory / "model.safetensors"], [directory / "vq.safetensors"], shards)):
        contents = {file: load_file(file) for file in files}
        state = seeded_tensors(
            {name: tensor for part in contents.values() for name, tensor in part.items()}, seed + offset
        )
        for file, part in contents.items():
            save_file({name: state[name] for name in part}, file)
    (directory / "flan-t5-xl" / "tokenizer.json").write_text(json.dumps(tokenizer))
    return directory


def seeded_tensors(shaped_like: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Standard normal numbers in the order of the sorted names.

    Matrices and kernels are divided by the square root of their inputs, the head's then multiplied by 2; embeddings
    stay as they are; weights of norms are 1 plus a tenth, biases a tenth.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, tensor in sorted(shaped_like.items()):
        noise = torch.randn(tensor.shape, generator=generator)
        if noise.dim() == 1:
            state[name] = noise / 10 + (1 if name.endswith("weight") else 0)
        elif any("embedding" in part for part in name.split(".")[-2:]):
            state[name] = noise
        else:
            state[name] = noise / math.sqrt(math.prod(noise.shape[1:])) * (2 if name == "output.weight" else 1)
    return state


def load_fixture() -> Any:
    return json.loads((Path(__file__).parent / "fixtures" / "llamagen_text_official.json").read_text())
