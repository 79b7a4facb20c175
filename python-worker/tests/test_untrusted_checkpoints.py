"""What a checkpoint from a stranger may not do: run code, take memory, or lead to other files."""

from __future__ import annotations

import argparse
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.links import refuse_outside_links
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
    (directory / "model.safetensors").rename(directory / "shard.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"norm.weight": shard}}))
    with pytest.raises(WorkerError, match="without folders"):
        open_checkpoint(directory)


def test_an_index_that_does_not_fit_its_shards_is_refused(directory: Path) -> None:
    index = directory / "model.safetensors.index.json"
    (directory / "model.safetensors").rename(directory / "shard.safetensors")
    index.write_text(json.dumps({"weight_map": {"nowhere.weight": "shard.safetensors"}}))
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


class Nested:
    """What pickles as a tuple that holds itself twice, so often that to hash it would take for ever."""

    def __init__(self, count: int) -> None:
        self.count = count

    def pickled(self) -> bytes:
        doubled = b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(self.count))
        return b"\x80\x02}(K\x01" + doubled + b"K\x02u."


def archive(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A file of `torch.save` with other content."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
    return path


BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a doubled tuple as a key": (lambda path: archive(path, Nested(40).pickled()), "nests tuples"),
    "a doubled tuple in the format before PyTorch 1.6": (
        lambda path: path.write_bytes(Nested(40).pickled()),
        "nests tuples",
    ),
    "a doubled list that is called": (
        lambda path: archive(path, b"\x80\x02]" + b"".join(b"q%c](h%ch%ce" % (k, k, k) for k in range(30)) + b")R."),
        "makes an object of a value that is no class",
    ),
    "deep tuples": (lambda path: archive(path, b"\x80\x02}K\x01" + b"\x85" * 1000 + b"K\x02s."), "nests tuples"),
    "a large buffer": (
        lambda path: archive(path, b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        "bytearray",
    ),
    "a compressed pickle": (lambda path: archive(path, bytes(1 << 20), zipfile.ZIP_DEFLATED), "is compressed"),
    "a large pickle": (lambda path: archive(path, b"\x80\x02" + bytes(1 << 24)), "more than 16 MiB of Python values"),
    "many operations": (lambda path: archive(path, b"\x80\x02" + b"N0" * 2000), "operations"),
    "deep lists": (lambda path: archive(path, b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b"."), "holds no weights"),
    "a large header of safetensors": (
        lambda path: safetensors_file(path, b"{" + b" " * 17_000_000 + b"}"),
        "header has 17000002 bytes",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_cannot_take_long_or_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: str) -> None:
    if bomb == "many operations":
        monkeypatch.setattr("zipar_worker.checkpoints.pickle_scan._MAXIMAL_OPERATIONS", 1000)
    write, expected = BOMBS[bomb]
    path = tmp_path / "w.pt"
    write(path)
    with pytest.raises(WorkerError, match=expected) as caught:
        open_checkpoint(path)
    assert caught.value.code == "checkpoint"


def test_json_that_is_nested_without_end_is_refused_wherever_it_stands(directory: Path) -> None:
    nested = '{"a":' * 100_000
    for name in ("zipar.json", "config.json", "adapter_config.json", "model.safetensors.index.json"):
        (directory / name).write_text(nested)
    assert "nested too deeply" in refusal(directory)
    (directory / "zipar.json").unlink()
    assert "nested too deeply" in refusal(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(WorkerError, match="no index of shards"):
        open_checkpoint(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 16777216}, "asks for 16777216 layers"),
        ({"layers": 400}, "asks for 400 layers"),
        ({"dim": 16777216, "heads": 4096}, "asks for a width of 16777216"),
        ({"dim": 16384, "heads": 1, "rows": 1024, "columns": 1024}, "is too large"),
        ({"classCount": 16777216}, "asks for a width of 16777216"),
    ],
    ids=str,
)
def test_a_configuration_cannot_ask_for_more_than_the_file_has(
    directory: Path, change: dict[str, int], message: str
) -> None:
    with_sidecar(directory, lambda sidecar: sidecar["config"].update(change))
    assert message in refusal(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residualBlocks": 16777216}, "layers"),
        ({"channels": 16777216}, "a width of"),
        ({"channels": 33}, "multiple of 32"),
    ],
    ids=str,
)
def test_a_sidecars_image_tokenizer_cannot_either(directory: Path, change: dict[str, int], message: str) -> None:
    with_sidecar(directory, lambda sidecar: sidecar["vq"].update(change))
    assert message in refusal(directory)


def test_objects_of_training_programs_are_told_from_attacks_and_the_way_out_is_given(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    weights = {"x": torch.zeros(2)}
    for extra, name in ((numpy.float64(3.2), "scalar"), (Path("/x"), "PosixPath"), (date(2026, 1, 1), "datetime.date")):
        torch.save({"model": weights, "args": argparse.Namespace(extra=extra)}, path)
        with pytest.raises(WorkerError, match=r"such as training programs save.*Nothing in it was executed") as caught:
            open_checkpoint(path)
        assert name in caught.value.message and "weights_only=False)['model'], 'weights.pt')" in caught.value.message
    torch.save({"model": weights, "extra": [numpy.float64(3.2), Exploit(tmp_path / "ran")]}, path)
    with pytest.raises(WorkerError, match="the file is an attack") as caught:
        open_checkpoint(path)
    assert "weights_only" not in caught.value.message and not (tmp_path / "ran").exists()


def test_a_hub_cache_may_lie_on_another_disk_and_lend_its_files(directory: Path, tmp_path: Path) -> None:
    name = "ab" * 32
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1234"
    disk = tmp_path / "disk"
    snapshot.parent.mkdir(parents=True)
    disk.mkdir()
    (snapshot.parent.parent / "blobs").symlink_to(disk)
    directory.rename(snapshot)
    (snapshot / "model.safetensors").rename(disk / name)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{name}")
    nested = snapshot / "nested"
    nested.mkdir()
    (nested / "model.safetensors").symlink_to(f"../../../blobs/{name}")
    open_family(snapshot, OpenOptions())
    refuse_outside_links(nested)
    (disk / "secret").touch()
    (nested / "secret").symlink_to("../../../blobs/secret")
    with pytest.raises(WorkerError, match="secret is a link"):
        refuse_outside_links(snapshot)


def test_a_link_that_is_named_is_followed(directory: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory)
    open_family(link, OpenOptions())
    (tmp_path / "w.pt").symlink_to(directory / "model.safetensors")
    open_checkpoint(tmp_path / "w.pt")


def test_tensors_of_absurd_sizes_in_a_torch_file_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "c2i_B_256.pt"
    torch.save({"model": {"output.weight": torch.zeros(1).expand(2**20, 2**20)}}, path)
    # A view of one number that calls itself 4 TiB: its shape is that of no model.
    assert "lacks" in refusal(path) or "memory" in refusal(path)
