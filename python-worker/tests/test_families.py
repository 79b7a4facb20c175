"""What holds for every family."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zipar_testing.tiny.__main__ import WRITERS
from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.families import FAMILIES

LIBRARIES = ("transformers", "tokenizers", "tiktoken", "yaml", "bs4", "ftfy", "zmq", "huggingface_hub")
"""That a forward needs nothing of: a GPU is checked without them (scripts/gpu-check), and a start is the quicker."""

START = f"""
import sys
from pathlib import Path
import torch
import zipar_worker.execute.executor
print([name for name in {LIBRARIES} if name in sys.modules])

from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions

for path in map(Path, sys.argv[1:]):
    opened = open_family(path, OpenOptions())
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *progress: None)
    print(opened.family, "transformers" in sys.modules)
"""


def test_forwards_need_no_library_of_text_and_no_family_starts_with_transformers(tmp_path: Path) -> None:
    names = {"lumina-mgpt": "Lumina-mGPT-7B-128"}
    paths = {family: tmp_path / names.get(family, family) for family in FAMILIES}
    for family, path in paths.items():
        write_tiny([family, "--out", str(path)])
    result = subprocess.run(
        [sys.executable, "-c", START, *map(str, paths.values())], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["[]", *(f"{family} False" for family in FAMILIES)]


def test_every_family_has_a_writer_of_tiny_checkpoints() -> None:
    assert {name.replace("_", "-") for name in WRITERS} == set(FAMILIES)
