"""Weights files: all official wrappings load, nothing in a file is executed, and every defect is named."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, Feed, sidecar, start
from plain_llamagen import PlainConfig, seeded_state
from safetensors.torch import save_file
from torch import Tensor, nn

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import Checkpoint, load_module_, open_checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.linear import Linear, MergedLinear, can_pack, pack_linears_

CONFIG = PlainConfig()
STATE = seeded_state(CONFIG, 21)


class Payload:
    """Creates a file when a pickle of it is loaded by an unpickler that executes what it reads."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def refusal(path: Path) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        open_checkpoint(path)
    assert caught.value.code == "checkpoint"
    assert str(path) in caught.value.message
    return caught.value


def first_probabilities(path: Path) -> list[float]:
    driver = start(path)
    driver.encode(1, 0, (0, 1))
    result = driver.forward(Feed(1, [(0, 0, DISTRIBUTION)], [(0, 1)], guidance_scale=2.0, temperature=1.0))
    probabilities: list[float] = result.distribution_probabilities.tolist()
    return probabilities


def write(directory: Path, name: str, content: object) -> Path:
    directory.mkdir(exist_ok=True)
    torch.save(content, directory / name)
    (directory / "zipar.json").write_bytes(json.dumps({**sidecar(CONFIG), "weights": name}).encode())
    return directory


WRAPPINGS: dict[str, Any] = {
    "model": {"model": STATE, "steps": 7, "args": argparse.Namespace(lr=1e-4, results="runs/1")},
    "module": {"module": STATE},
    "state_dict": {"state_dict": STATE},
    "raw": STATE,
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_official_wrapping_gives_the_same_model(tmp_path: Path, wrapping: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    save_file(STATE, plain / "model.safetensors")
    (plain / "zipar.json").write_bytes(json.dumps(sidecar(CONFIG)).encode())
    assert first_probabilities(write(tmp_path / "wrapped", "w.pt", WRAPPINGS[wrapping])) == first_probabilities(plain)


def test_the_format_before_pytorch_1_6_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"model": STATE}, path, _use_new_zipfile_serialization=False)
    assert open_checkpoint(path).shape("norm.weight") == (CONFIG.dim,)


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    path = tmp_path / "evil.pt"
    torch.save({"model": STATE, "extra": Payload(target)}, path)
    error = refusal(path)
    assert "refused" in error.message and "mkdir" in error.message and "Nothing in it was executed" in error.message
    assert "weights_only" not in error.message + str(error.details)
    path.write_bytes(pickle.dumps(Payload(target), protocol=2))
    assert "mkdir" in refusal(path).message
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists(), "the payload works, where pickles are executed"


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named_as_damaged(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save({"model": STATE}, path)
    else:
        save_file(STATE, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "damaged" in refusal(path).message


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_file_of_another_kind_is_named_as_such(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("<html>Not found</html>\n" * 20)
    assert "another kind" in refusal(path).message


def test_a_missing_path_and_a_directory_are_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.pt").message
    assert "holds no weights" in refusal(tmp_path).message


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"epoch": 3}], ids=str)
def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path, content: object) -> None:
    path = tmp_path / "empty.pt"
    torch.save(content, path)
    assert "holds no weights" in refusal(path).message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("norm.weight"), r"lacks 1 tensors.*norm\.weight"),
        (lambda state: state.update({"layers.0.q_norm.weight": torch.zeros(3)}), r"no place for: layers\.0\.q_norm"),
        (lambda state: state.update({"norm.weight": torch.zeros(3)}), r"norm\.weight has the shape \[3\].*\[64\]"),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_tensors_that_do_not_fit_the_model_are_named(tmp_path: Path, change: Any, message: str) -> None:
    state = dict(STATE)
    change(state)
    with pytest.raises(WorkerError, match=message) as caught:
        start(write(tmp_path, "w.pt", {"model": state}))
    assert caught.value.code == "checkpoint"


def test_loading_casts_copies_and_reports_every_byte(tmp_path: Path) -> None:
    stored = {"weight": torch.randn(6, 8), "bias": torch.randn(6)}
    with without_weights():
        module = nn.Linear(8, 6)
    reports: list[tuple[int, int]] = []
    load_module_(
        module,
        Checkpoint(tmp_path, stored),
        dtype=torch.bfloat16,
        device=torch.device("cpu"),
        report=lambda completed, total: reports.append((completed, total)),
    )
    total = 4 * (6 * 8 + 6)
    assert reports == [(4 * 6 * 8, total), (total, total)]
    assert torch.equal(module.weight, stored["weight"].bfloat16())
    stored["bias"].zero_()
    assert module.bias.abs().sum() > 0


class Tied(nn.Module):
    """A table that is also the head, and two products of one input."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.head = Linear(4, 2)
        self.both = MergedLinear(4, (3, 1), bias=True)


TIED_KEYS = KeyMap(
    ((r"^table\.", "embed."), (r"^head\.", "embed."), (r"^both\.", ("first.", "second.")), (r"^", "model.")),
    elsewhere=r"vision\.",
)


def load_tied(state: dict[str, Tensor]) -> Tied:
    with without_weights():
        module = Tied()
    load_module_(
        module,
        Checkpoint(Path("tied.pt"), state),
        dtype=torch.float32,
        device=torch.device("cpu"),
        report=lambda completed, total: None,
        keys=TIED_KEYS,
        adapt=lambda name, stored, rows: stored[-rows:] if name == "head.weight" else stored,
    )
    return module


def tied_state() -> dict[str, Tensor]:
    shapes = {"embed.weight": (6, 4), "first.weight": (3, 4), "second.weight": (1, 4), "first.bias": (3,)}
    state = {f"model.{name}": torch.randn(shape) for name, shape in shapes.items()}
    return state | {"model.second.bias": torch.randn(1), "vision.weight": torch.randn(9)}


def loaded_weight(stored: Tensor, dtype: torch.dtype) -> Tensor:
    with without_weights():
        module = nn.Linear(3, 2, bias=False)
    load_module_(
        module,
        Checkpoint(Path("w.safetensors"), {"weight": stored}),
        dtype=dtype,
        device=torch.device("cpu"),
        report=lambda completed, total: None,
    )
    return module.weight


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_that_float16_makes_infinite_are_found_when_they_are_loaded(stored: torch.dtype) -> None:
    weight = torch.tensor([[1.0, -70000.0, 2.0], [80000.0, 0.0, 65000.0]], dtype=stored)
    with pytest.raises(
        WorkerError, match=r"2 numbers of the tensor weight are beyond.*the largest is (80000|79872)\."
    ) as caught:
        loaded_weight(weight, torch.float16)
    assert caught.value.code == "checkpoint"
    assert "bfloat16 or float32" in caught.value.message
    for dtype in (torch.float32, torch.bfloat16):
        assert loaded_weight(weight, dtype).isfinite().all()


def test_numbers_that_are_infinite_in_the_file_are_not_blamed_on_float16() -> None:
    weight = torch.tensor([[1.0, torch.inf, 2.0], [torch.nan, 65504.0, -65504.0]])
    assert loaded_weight(weight, torch.float16).isfinite().sum() == 4


def test_one_key_fills_several_parameters_and_several_keys_one() -> None:
    state = tied_state()
    module = load_tied(state)
    assert torch.equal(module.table.weight, state["model.embed.weight"])
    assert torch.equal(module.head.weight, state["model.embed.weight"][4:])
    assert torch.equal(module.both.weight, torch.cat((state["model.first.weight"], state["model.second.weight"])))
    assert module.both.bias is not None
    assert torch.equal(module.both.bias, torch.cat((state["model.first.bias"], state["model.second.bias"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.second.bias"), r"lacks 1 tensors that this model needs: model\.second\.bias"),
        (lambda state: state.update({"both.weight": torch.zeros(4, 4)}), r"no place for: both\.weight"),
        (
            # Together they have as many rows as they should.
            lambda state: state.update(
                {"model.first.weight": torch.zeros(1, 4), "model.second.weight": torch.zeros(3, 4)}
            ),
            r"model\.first\.weight has the shape \[1, 4\]; this model needs \[3, 4\]",
        ),
    ],
    ids=["missing", "left over", "misshapen"],
)
def test_tensors_that_do_not_fit_are_named_as_the_file_names_them(change: Any, message: str) -> None:
    state = tied_state()
    change(state)
    with pytest.raises(WorkerError, match=message):
        load_tied(state)


@pytest.mark.skipif(not can_pack(torch.float32, "cpu"), reason="oneDNN's packed products are not available here")
@pytest.mark.parametrize("shape", [(1, 40), (2, 1, 40), (3, 7, 40), (200, 40)])
@pytest.mark.parametrize("bias", [False, True], ids=["", "with a bias"])
@pytest.mark.parametrize("layout", ["transposed", "packed"])
def test_the_product_with_a_weight_in_another_layout_equals_the_ordinary_one(
    shape: tuple[int, ...], bias: bool, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "packed":
        monkeypatch.setattr("zipar_worker.execute.linear._LEAST_PACKED", 0)
    linear = Linear(40, 24, bias=bias)
    for parameter in linear.parameters():
        parameter.normal_()
    rows = torch.randn(shape)
    expected: Tensor = linear(rows)
    pack_linears_(nn.Sequential(linear))
    assert linear._layout == layout
    torch.testing.assert_close(linear(rows), expected, atol=1e-5, rtol=1e-5)


def test_a_module_that_cannot_be_packed_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zipar_worker.execute.linear.can_pack", lambda dtype, device_type: False)
    linear = Linear(4, 3)
    pack_linears_(linear)
    assert linear._layout == "plain" and linear(torch.zeros(2, 4)).shape == (2, 3)
