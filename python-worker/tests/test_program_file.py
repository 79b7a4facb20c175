"""The tensors of TorchScript files, and programs that nobody's export would write."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zipar_worker.checkpoints.program_file import read_program_file
from zipar_worker.errors import WorkerError


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, dtype=torch.bfloat16)
        self.register_buffer("steps", torch.arange(4)[::2], persistent=False)
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x)
        return result


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Inner(), Inner()])
        self.empty = nn.Parameter(torch.zeros(0, 5))
        self.number = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.jit"
    torch.jit.script(Outer()).save(str(path))
    return path


def test_tensors_have_the_names_types_and_numbers_that_pytorch_gives_them(program: Path) -> None:
    expected = torch.jit.load(str(program)).state_dict()  # type: ignore[no-untyped-call]
    tensors = read_program_file(program)
    assert tensors is not None
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()} == {
        name: (tensor.dtype, tensor.tolist()) for name, tensor in expected.items()
    }
    assert {"parts.0.steps", "parts.1.linear.weight", "empty", "number"} <= tensors.keys()


def test_an_archive_of_tensors_alone_is_no_program(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    assert read_program_file(tmp_path / "a.pt") is None


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
MODULE = b"c__torch__.m\nModule\n)\x81"
"""An object without a state."""


def tensor(first: int, shape: bytes, strides: bytes) -> bytes:
    """Of a storage of two numbers."""
    return REBUILD + b"(" + STORAGE + b"K" + bytes([first]) + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR"


def module(name: bytes, value: bytes) -> bytes:
    return MODULE + b"}X" + len(name).to_bytes(4, "little") + name + value + b"sb"


def write(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("m/constants.pkl", b"\x80\x02).")
        # Where the numbers begin is a multiple of their size, as PyTorch sees to.
        padding = -(archive.fp.tell() + 30 + len("m/data/0")) % 64  # type: ignore[union-attr]
        entry = zipfile.ZipInfo("m/data/0")
        entry.extra = b"FB" + (padding + 60).to_bytes(2, "little") + bytes(padding + 60)
        archive.writestr(entry, torch.tensor([1.5, 2.5]).numpy().tobytes())
    return path


ONE = tensor(0, b"K\x01\x85", b"K\x01\x85")
TEXT = b"X\x04\x00\x00\x00true"
STATE = b"}" + TEXT + b"K\x01sb"
HOSTILE = {
    "a tensor beyond its numbers": (module(b"a", tensor(0, b"K\x03\x85", b"K\x01\x85")), "more numbers than the file"),
    "a tensor that starts beyond": (module(b"a", tensor(2, b"K\x01\x85", b"K\x01\x85")), "more numbers than the file"),
    "a number repeated without end": (module(b"a", tensor(0, b"J\xff\xff\xff\x7f\x85", b"K\x00\x85")), "more numbers"),
    "a tensor that runs backwards": (
        module(b"a", tensor(1, b"K\x02\x85", b"J\xff\xff\xff\xff\x85")),
        "more numbers than the file holds",
    ),
    "numbers that are not there": (
        module(b"a", tensor(0, b"K\x01\x85", b"K\x01\x85").replace(b"\x000X", b"\x009X")),
        "9",
    ),
    "a function of the system": (
        module(b"a", b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R"),
        "Python object posix.system",
    ),
    "another function of PyTorch": (module(b"a", b"ctorch.hub\nload\n)R"), "Python object torch.hub.load"),
    "a state for a function": (
        module(b"a", REBUILD + b"}X\x01\x00\x00\x00bK\x01sb"),
        "sets the state of something else",
    ),
    "a state for a tensor": (module(b"a", ONE + STATE), "sets the state of something else"),
    "a class called by a call's result": (MODULE + b")R", "makes an object of a value that is no class"),
    "nothing": (b"", "cannot be read as a weights file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_program_that_no_export_writes_is_refused(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(WorkerError, match=message) as caught:
        read_program_file(write(tmp_path / "model.jit", content))
    assert caught.value.code == "checkpoint"


def test_modules_that_hold_each_other_are_read_once(tmp_path: Path) -> None:
    """Each of fifty modules holds the next twice, the last itself: by all their ways it would take years."""
    chain = b"".join(MODULE + b"q" + bytes([index]) + b"}(X\x01\x00\x00\x00a" for index in range(50))
    chain += b"h\x31" + b"".join(
        b"X\x01\x00\x00\x00b" + (b"h" + bytes([min(index + 1, 49)])) + b"ub" for index in reversed(range(50))
    )
    assert read_program_file(write(tmp_path / "model.jit", chain)) == {}


def test_the_file_that_the_hostile_ones_are_made_of_is_read(tmp_path: Path) -> None:
    content = module(b"a", tensor(0, b"K\x02\x85", b"K\x01\x85"))
    tensors = read_program_file(write(tmp_path / "model.jit", content))
    assert tensors is not None
    assert tensors["a"].tolist() == [1.5, 2.5]
