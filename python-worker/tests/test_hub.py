"""Fetching from the hub, with the real `huggingface_hub` in a process of its own against a server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, fake_hub

from zipar_worker.checkpoints.hub.files import needed_files
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, emu3
from zipar_worker.wire.protocol import HubSource, PathSource

CHUNK_BYTES = 10 << 20
"""What `huggingface_hub` writes at a time."""
WEIGHTS = bytes(range(256)) * (3 * CHUNK_BYTES // 512)
MODEL = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"not wanted",
    "pytorch_model.bin.index.json": b"{}",
    "tokenizer.json": b"{ }",
    "README.md": b"words",
    "modeling.py": b"code",
    "onnx/model.onnx": b"not wanted",
    "training_args.bin": b"pickle",
}
SCRIPT = """
import json, sys
from zipar_worker.errors import WorkerError
from zipar_worker.checkpoints.hub.download import fetch
from zipar_worker.wire.protocol import HubSource
for request in json.loads(sys.argv[1]):
    reports = []
    source = HubSource(**request["source"])
    try:
        path = fetch(source, lambda *report: reports.append(report), **request["options"])
        print(json.dumps({"path": str(path), "reports": reports}))
    except WorkerError as error:
        print(json.dumps({"code": error.code, "message": error.message, "reports": reports}))
"""


@dataclass(frozen=True)
class Machine:
    """Where `fetch` runs: with its own cache, and a hub or none."""

    home: Path
    endpoint: str
    environment: tuple[tuple[str, str], ...] = ()

    def fetch(self, *requests: Any) -> list[Any]:
        """What comes of each request, one after the other in one process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment = {
            **kept,
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": self.endpoint,
            "no_proxy": "127.0.0.1",
            **dict(self.environment),
        }
        finished = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(requests)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=Path(__file__).parent.parent,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stderr
        return [json.loads(line) for line in finished.stdout.splitlines()]


def the(repository: str, path: str | None = None, revision: str | None = None, **options: Any) -> Any:
    """A request of `Machine.fetch`."""
    return {"source": {"repository": repository, "path": path, "revision": revision}, "options": options}


def test_only_what_is_needed_is_fetched_with_progress_in_bytes_and_nothing_twice(tmp_path: Path) -> None:
    with fake_hub({"owner/model": MODEL}) as hub:
        machine = Machine(tmp_path, hub.endpoint, (("HF_TOKEN", "hf_secret"),))
        [fetched] = machine.fetch(the("owner/model"))
        directory = Path(fetched["path"])
        assert sorted(file.name for file in directory.iterdir()) == [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]
        assert (directory / "model.safetensors").read_bytes() == WEIGHTS
        assert directory.is_relative_to(tmp_path)
        phase, completed, total, unit = fetched["reports"][-1]
        assert (phase, unit) == ("fetching owner/model", "bytes")
        assert completed == total == len(WEIGHTS) + 5
        assert hub.tokens == {"hf_secret"}
        first = hub.downloads()
        assert len(first) == 3
        assert machine.fetch(the("owner/model")) == [{"path": str(directory), "reports": []}]
        assert hub.downloads() == first


def test_a_download_that_breaks_off_goes_on_where_it_broke(tmp_path: Path) -> None:
    with fake_hub({"owner/model": MODEL}, break_once={"model.safetensors": CHUNK_BYTES + 1}) as hub:
        [fetched] = Machine(tmp_path, hub.endpoint).fetch(the("owner/model"))
        assert (Path(fetched["path"]) / "model.safetensors").read_bytes() == WEIGHTS
        assert f"/owner/model/resolve/{COMMIT}/model.safetensors bytes={CHUNK_BYTES}-" in hub.downloads()
        completed = [report[1] for report in fetched["reports"]]
        assert completed == sorted(completed)
        assert completed[-1] == len(WEIGHTS) + 5


def test_files_that_are_whole_are_kept_when_another_fails(tmp_path: Path) -> None:
    listed = {**MODEL, "model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two"}
    del listed["model.safetensors"]

    class Lacking(dict[str, bytes]):
        """Has one file that is listed, but not there when it is asked for, after a while."""

        def __contains__(self, name: object) -> bool:
            if name == "model-00002-of-00002.safetensors":
                time.sleep(0.5)
            return name != "model-00002-of-00002.safetensors" and super().__contains__(name)

    with fake_hub({"owner/model": Lacking(listed)}) as hub:
        machine = Machine(tmp_path, hub.endpoint)
        [failure] = machine.fetch(the("owner/model"))
        assert failure["code"] == "checkpoint"
        assert "Run it again" in failure["message"]
        kept = hub.downloads()
        hub.repositories = {"owner/model": listed}
        assert "path" in machine.fetch(the("owner/model"))[0]
        (fetched_later,) = hub.downloads()[len(kept) :]
        assert fetched_later.endswith("model-00002-of-00002.safetensors")


def test_one_file_of_a_repository(tmp_path: Path) -> None:
    files = {"c2i_B_256.pt": b"weights", "vq_ds16_c2i.pt": b"vq", "sub/c2i_L_256.pt": b"large"}
    with fake_hub({"owner/many": files}) as hub:
        machine = Machine(tmp_path, hub.endpoint)
        names = ("c2i_B_256.pt", "sub/c2i_L_256.pt")
        *fetched, missing, ambiguous = machine.fetch(
            *(the("owner/many", name, "main") for name in names), the("owner/many", "c2i_XL.pt"), the("owner/many")
        )
        assert [Path(one["path"]).read_bytes() for one in fetched] == [files[name] for name in names]
        assert len(hub.downloads()) == 2
        assert "neither a file nor a folder 'c2i_XL.pt'" in missing["message"]
        assert "c2i_B_256.pt" in missing["message"]
        assert "Name one of them: owner/many/c2i_B_256.pt" in ambiguous["message"]


def test_a_tokenizer_alone_leaves_the_weights_where_they_are(tmp_path: Path) -> None:
    with fake_hub({"owner/model": MODEL}) as hub:
        [fetched] = Machine(tmp_path, hub.endpoint).fetch(the("owner/model", tokenizer_alone=True))
        directory = Path(fetched["path"])
        assert sorted(file.name for file in directory.iterdir()) == ["config.json", "tokenizer.json"]


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_the_cache_will_do(tmp_path: Path, offline: bool) -> None:
    with fake_hub({"owner/model": MODEL}) as hub:
        [online] = Machine(tmp_path, hub.endpoint).fetch(the("owner/model"))
        asked = len(hub.requests)
        if offline:
            machine = Machine(tmp_path, hub.endpoint, (("HF_HUB_OFFLINE", "1"),))
            assert machine.fetch(the("owner/model"))[0]["path"] == online["path"]
            assert len(hub.requests) == asked
            (Path(online["path"]) / "model.safetensors").unlink()
            assert "HF_HUB_OFFLINE" in machine.fetch(the("owner/model"))[0]["message"]
            return
    assert Machine(tmp_path, hub.endpoint).fetch(the("owner/model"))[0]["path"] == online["path"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [((("HF_HUB_OFFLINE", "1"),), "HF_HUB_OFFLINE"), ((), "cannot be reached")],
)
def test_offline_with_nothing_cached_names_the_files_to_bring(
    tmp_path: Path, environment: tuple[tuple[str, str], ...], said: str
) -> None:
    machine = Machine(tmp_path, "http://127.0.0.1:9", environment)
    failure, failed_file = machine.fetch(the("BAAI/Emu3-Gen"), the("owner/many", "c2i_B_256.pt"))
    assert failure["code"] == "checkpoint"
    for part in (said, "BAAI/Emu3-Gen", "config.json", "*.safetensors", "tokenizer", "--model DIR", str(tmp_path)):
        assert part in failure["message"]
    for part in ("owner/many", "c2i_B_256.pt", "--model FILE"):
        assert part in failed_file["message"]


def test_what_the_hub_refuses_is_said_with_a_remedy(tmp_path: Path) -> None:
    with fake_hub({"owner/model": MODEL, "meta/gated": MODEL}, gated=frozenset({"meta/gated"})) as hub:
        machine = Machine(tmp_path, hub.endpoint)
        failures = machine.fetch(
            the("meta/gated"), the("owner/missing"), the("owner/model", None, "v9"), the("owner/mo--del")
        )
    said = [
        ("gated", f"{hub.endpoint}/meta/gated", "HF_TOKEN"),
        ("no repository owner/missing", "private", "path"),
        ("no revision 'v9'", "owner/model"),
        ("owner/mo--del", "neither an existing path"),
    ]
    for failure, parts in zip(failures, said, strict=True):
        assert failure["code"] == "checkpoint"
        for part in parts:
            assert part in failure["message"]


def source(path: str | None = None) -> HubSource:
    return HubSource(repository="owner/model", path=path, revision=None)


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (["config.json", "pytorch_model.bin", "vocab.txt"], ["config.json", "pytorch_model.bin", "vocab.txt"]),
        (
            ["config.json", "a.safetensors.index.json", "a-1.safetensors", "pytorch_model.bin.index.json"],
            ["a-1.safetensors", "a.safetensors.index.json", "config.json"],
        ),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors", "emu3.tiktoken"], ["emu3.tiktoken", "model.safetensors"]),
        (["zipar.json", "model.safetensors", "vq.safetensors"], ["model.safetensors", "vq.safetensors", "zipar.json"]),
        (["vqgan.ckpt", "vqgan.yaml"], ["vqgan.ckpt", "vqgan.yaml"]),
        (["spiece.model", "config.json", "model.safetensors"], ["config.json", "model.safetensors", "spiece.model"]),
    ],
)
def test_one_kind_of_weights_and_its_own_index_are_needed(names: list[str], needed: list[str]) -> None:
    assert needed_files(source(), names) == needed


def test_a_folder_of_a_repository_is_taken_alone() -> None:
    names = ["tokenizer/vqgan.ckpt", "tokenizer/vqgan.yaml", "model.safetensors", "tokenizer/deep/x.json"]
    assert needed_files(source("tokenizer"), names) == ["tokenizer/vqgan.ckpt", "tokenizer/vqgan.yaml"]


@pytest.mark.parametrize("names", [["README.md"], ["onnx/model.onnx"], ["config.json"]])
def test_a_repository_without_weights_is_refused(names: list[str]) -> None:
    with pytest.raises(WorkerError, match="owner/model holds no") as caught:
        needed_files(source(), names)
    assert caught.value.code == "checkpoint"


def test_companions_belong_to_repositories_and_files_of_the_hub_and_never_to_paths() -> None:
    assert (
        companions_of(HubSource(repository="BAAI/Emu3-Gen", path=None, revision="main"))
        is emu3.COMPANIONS["BAAI/Emu3-Gen"]
    )
    c2i = companions_of(HubSource(repository="FoundationVision/LlamaGen", path="c2i_3B_384.pt", revision=None))
    assert c2i.vq is not None and c2i.vq.path == "vq_ds16_c2i.pt"
    for other in (
        HubSource(repository="BAAI/Emu3-Gen-hf", path=None, revision=None),
        HubSource(repository="FoundationVision/LlamaGen", path="vq_ds16_c2i.pt", revision=None),
        PathSource(path="/models/BAAI/Emu3-Gen"),
    ):
        found = companions_of(other)
        assert found.vq is None and found.text_encoder is None
