"""The image tokenizer against figures of the official code (fixtures/llamagen_vq_official.json)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zipar_demo.encoder import Tokenizer
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder

CASES = json.loads((Path(__file__).parent / "fixtures" / "llamagen_vq_official.json").read_text())["cases"]

# The tensors are too small for threads to pay.
torch.set_num_threads(1)


def seeded_state(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Weights by a recipe that the fixture relies on: standard normal numbers in the order of the sorted names.

    Matrices and kernels are divided by the square root of their inputs; embeddings stay as they are; weights of norms
    are 1 plus a tenth, biases a tenth.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if noise.dim() == 1:
            state[name] = noise / 10 + (1 if name.endswith("weight") else 0)
        elif "embedding" in name:
            state[name] = noise
        else:
            state[name] = noise / math.sqrt(math.prod(noise.shape[1:]))
    return state


def seeded_pixels(case: dict[str, Any], pixels_per_token: int) -> Tensor:
    """The picture that the fixture encodes: [1, 3, H, W]; the generator gave the tokens before."""
    generator = torch.Generator().manual_seed(case["seed"] + 100)
    cells = case["rows"] * case["columns"]
    tokens = torch.randint(case["config"]["codebook_size"], (cells,), generator=generator)
    assert tokens.tolist() == case["tokens"]
    size = (1, 3, case["rows"] * pixels_per_token, case["columns"] * pixels_per_token)
    return torch.rand(size, generator=generator) * 2 - 1


@pytest.fixture(params=CASES, ids=lambda case: f"{len(case['config']['channel_multipliers'])} levels")
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


def config_of(case: dict[str, Any]) -> LlamaGenVQConfig:
    config = case["config"]
    return LlamaGenVQConfig(**config | {"channel_multipliers": tuple(config["channel_multipliers"])})


@pytest.fixture
def tokenizer(case: dict[str, Any]) -> Tokenizer:
    model = Tokenizer(config_of(case))
    model.load_state_dict(seeded_state(model, case["seed"]))
    return model.requires_grad_(False)


def test_decoded_pixels_equal_the_official_ones(case: dict[str, Any], tokenizer: Tokenizer) -> None:
    decoder = LlamaGenVQDecoder(config_of(case))
    state = tokenizer.state_dict()
    decoder.load_state_dict({name: state[name] for name in decoder.state_dict()})
    pixels = decoder.decode(torch.tensor(case["tokens"]).view(1, case["rows"], case["columns"]))
    side = decoder.pixels_per_token
    assert pixels.shape == (1, 3, case["rows"] * side, case["columns"] * side)
    torch.testing.assert_close(pixels.flatten(), torch.tensor(case["decoded"]), atol=2e-5, rtol=1e-5)


def test_encoded_tokens_equal_the_official_ones(case: dict[str, Any], tokenizer: Tokenizer) -> None:
    pixels = seeded_pixels(case, tokenizer.pixels_per_token)
    assert tokenizer.tokenize(pixels).flatten().tolist() == case["encoded"]


def test_pictures_of_a_batch_do_not_influence_each_other(case: dict[str, Any], tokenizer: Tokenizer) -> None:
    tokens = torch.tensor(case["tokens"]).view(1, case["rows"], case["columns"])
    both = tokenizer.decode(torch.cat([tokens.flip(2), tokens]))
    torch.testing.assert_close(both[1], tokenizer.decode(tokens)[0], atol=1e-5, rtol=1e-5)
