"""What a checkpoint from a stranger may not do: run code, take memory, or lead to other files."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.weights import open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_tiny(["llamagen", "--out", str(tmp_path / "model"), "--seed", "3", "--rows", "2", "--columns", "3"])
    return tmp_path / "model"


def refusal(path: Path) -> str:
    with pytest.raises(WorkerError) as caught:
        opened = open_family(path, OpenOptions())
        opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda phase, done, total, unit: None)
    assert caught.value.code == "checkpoint"
    return caught.value.message


def with_sidecar(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = directory / "zipar.json"
    sidecar = json.loads(path.read_bytes())
    change(sidecar)
    path.write_text(json.dumps(sidecar))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/hostname", "a/../../secret", "", ".", ".."])
def test_a_sidecar_cannot_name_files_elsewhere(directory: Path, name: str) -> None:
    save_file({"x": torch.zeros(1)}, directory.parent / "secret.safetensors")
    with_sidecar(directory, lambda sidecar: sidecar.update(weights=name))
    assert "zipar.json" in refusal(directory)


@pytest.mark.parametrize("name", ["model.safetensors", "folder"])
def test_links_that_lead_out_of_the_directory_are_refused(directory: Path, name: str) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (directory / "model.safetensors").rename(elsewhere / "model.safetensors")
    (directory / name).symlink_to(elsewhere / name if name.endswith("s") else elsewhere)
    message = refusal(directory)
    assert f"{name} is a link to" in message and "give the directory that holds it" in message


def test_links_within_a_directory_and_into_the_blobs_of_a_hub_snapshot_are_followed(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "blob")
    (directory / "model.safetensors").symlink_to("blob")
    open_family(directory, OpenOptions())
    snapshot = directory.parent / "models--a--b" / "snapshots" / "1234"
    snapshot.parent.mkdir(parents=True)
    directory.rename(snapshot)
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir()
    (snapshot / "blob").rename(blobs / "blob")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/blob")
    open_family(snapshot, OpenOptions())


@pytest.mark.parametrize("shard", ["../model.safetensors", "/model.safetensors", "a/model.safetensors", "", ".."])
def test_an_index_cannot_name_shards_elsewhere(directory: Path, shard: str) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"norm.weight": shard}}))
    with pytest.raises(WorkerError, match="without folders"):
        open_checkpoint(directory)


def test_an_index_that_does_not_fit_its_shards_is_refused(directory: Path) -> None:
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"nowhere.weight": "model.safetensors"}}))
    with pytest.raises(WorkerError, match=r"nowhere\.weight, but it does not"):
        open_checkpoint(directory)
    index.write_text(json.dumps({"weight_map": {"x": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(WorkerError, match="is missing"):
        open_checkpoint(directory)
    index.write_text("[" * 10_000)
    with pytest.raises(WorkerError, match="no index of shards"):
        open_checkpoint(directory)


def safetensors_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data)
    return path


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 10**12),
        ({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, None),
        ({"x": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}, None),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, None),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, None),
        ({"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
    ],
)
def test_safetensors_headers_that_lie_are_refused_at_once(tmp_path: Path, header: object, length: int | None) -> None:
    path = safetensors_file(tmp_path / "model.safetensors", header, bytes(8), length)
    start = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        open_checkpoint(path)
    assert caught.value.code == "checkpoint" and str(path) in caught.value.message
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 40, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kept: float, ending: str) -> None:
    whole = tmp_path / f"model.{ending}"
    state = {"x": torch.arange(1000.0)}
    if ending == "pt":
        torch.save(state, whole)
    else:
        save_file(state, whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(WorkerError) as caught:
        open_checkpoint(whole)
    assert caught.value.code == "checkpoint" and "Download it again" in caught.value.message


class Exploit:
    """Runs a command when it is unpickled by anything that runs code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["alone", "beside the weights", "in the wrapping"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, place: str) -> None:
    marker = tmp_path / "ran"
    weights: dict[str, Any] = {"x": torch.zeros(2)}
    content: Any = {
        "alone": Exploit(marker),
        "beside the weights": {"model": weights, "extra": Exploit(marker)},
        "in the wrapping": {"model": {**weights, "y": Exploit(marker)}},
    }[place]
    path = tmp_path / "c2i_B_256.pt"
    torch.save(content, path)
    with pytest.raises(WorkerError, match="refused") as caught:
        open_checkpoint(path)
    assert "system" in str(caught.value.details["object"])
    assert not marker.exists()


def test_tensors_of_absurd_sizes_in_a_torch_file_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "c2i_B_256.pt"
    torch.save({"model": {"output.weight": torch.zeros(1).expand(2**20, 2**20)}}, path)
    # A view of one number that calls itself 4 TiB: its shape is that of no model.
    assert "lacks" in refusal(path) or "memory" in refusal(path)
