"""Chameleon's image tokenizer against figures of the official code (fixtures/lumina_mgpt_official.json)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder

CASES = json.loads((Path(__file__).parent / "fixtures" / "lumina_mgpt_official.json").read_text())["vq"]

torch.set_num_threads(1)


def seeded_state(shapes: Mapping[str, torch.Size], seed: int) -> dict[str, Tensor]:
    """Weights by a recipe that the fixture relies on: standard normal numbers in the order of the sorted names.

    Kernels are divided by the square root of their inputs; the codebook stays as it is; weights of norms are 1 plus a
    tenth, biases a tenth.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name in sorted(shapes):
        noise = torch.randn(shapes[name], generator=generator)
        if noise.dim() == 1:
            state[name] = noise / 10 + (1 if name.endswith("weight") else 0)
        elif "embedding" in name:
            state[name] = noise
        else:
            state[name] = noise / math.sqrt(math.prod(noise.shape[1:]))
    return state


@pytest.mark.parametrize("case", CASES, ids=["attention in the middle alone", "attention at one resolution more"])
@torch.inference_mode()
def test_decoded_pixels_equal_the_official_ones(case: dict[str, Any]) -> None:
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in case["config"].items()}
    decoder = ChameleonVQDecoder(ChameleonVQConfig(**config))
    shapes = {name: parameter.shape for name, parameter in decoder.named_parameters()}
    decoder.load_state_dict(seeded_state(shapes, case["seed"]))
    pixels = decoder.decode(torch.tensor(case["tokens"]).view(1, case["rows"], case["columns"]))
    side = decoder.pixels_per_token
    assert pixels.shape == (1, 3, case["rows"] * side, case["columns"] * side)
    torch.testing.assert_close(pixels.flatten(), torch.tensor(case["decoded"]), atol=1e-5, rtol=1e-5)


def test_the_default_configuration_has_the_size_of_metas_decoder() -> None:
    with torch.device("meta"):
        decoder = ChameleonVQDecoder(ChameleonVQConfig())
    assert decoder.pixels_per_token == 16
    assert decoder.quantize.embedding.weight.shape == (8192, 256)
    # One attention in the middle, and none elsewhere.
    assert [name for name, _ in decoder.named_modules() if name.endswith(".proj_out")] == [
        "decoder.mid.attn_1.proj_out"
    ]
