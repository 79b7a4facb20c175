"""The configuration of a Llama-like decoder: what a file says, what it leaves out, and what no decoder of ours is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zipar_worker.errors import WorkerError
from zipar_worker.families.llama_config import LlamaConfig, read_llama_config

PATH = Path("model/config.json")
DEFAULTS = LlamaConfig(num_key_value_heads=8, rope_theta=1e6)


def test_what_a_file_leaves_out_is_the_familys() -> None:
    config = read_llama_config(PATH, {"hidden_size": 64, "num_attention_heads": 16, "unknown": []}, DEFAULTS)
    decoder = config.decoder
    assert (decoder.dim, decoder.head_count, decoder.kv_head_count, decoder.head_dim) == (64, 16, 8, 4)
    assert (config.rope_theta, decoder.layer_count, decoder.norm_epsilon) == (1e6, 32, 1e-6)


def test_heads_may_be_wider_than_their_share() -> None:
    decoder = read_llama_config(PATH, {"hidden_size": 64, "num_attention_heads": 8, "head_dim": 16}, DEFAULTS).decoder
    assert (decoder.head_dim, decoder.kv_shape.head_dim) == (16, 16)


def test_null_key_value_heads_are_as_many_as_heads_whatever_the_default() -> None:
    assert read_llama_config(PATH, {"num_key_value_heads": None}, DEFAULTS).decoder.kv_head_count == 32


@pytest.mark.parametrize(("name", "gate"), [("silu", "silu"), ("gelu_pytorch_tanh", "gelu-tanh")])
def test_the_gate_is_the_named_activation(name: str, gate: str) -> None:
    assert read_llama_config(PATH, {"hidden_act": name}, DEFAULTS).decoder.gate == gate


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": {"type": "default"}},
    ],
)
def test_the_base_of_the_rotation_stands_in_either_place(fields: dict[str, Any]) -> None:
    assert read_llama_config(PATH, fields, DEFAULTS).rope_theta == 5e5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ({"rope_parameters": {"rope_theta": "large"}}, "rope_theta"),
        ({"num_attention_heads": 7}, "a width of 4096 cannot be shared by 7 heads"),
        ({"head_dim": 65}, "heads of 65"),
        ({"num_key_value_heads": 5}, "shared by 32 heads of 128, 5 of them with own K and V"),
        ({"hidden_act": "gelu"}, "its activation is 'gelu'; expected 'silu'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "it scales its positions by 'linear'"),
        ({"rope_scaling": {"factor": 2.0}}, "it scales its positions by None"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "it scales its positions by 'yarn'"),
        ({"attention_bias": True}, "its projections have biases"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_decoder_of_ours_is_is_refused_with_the_file(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkerError, match=message) as caught:
        read_llama_config(PATH, fields, DEFAULTS)
    assert caught.value.code == "checkpoint"
    assert str(PATH) in caught.value.message
