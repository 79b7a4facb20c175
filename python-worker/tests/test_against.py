"""The decoding loops of others, as `npm run bench -- --against` runs them: one process, a line for each image."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from zipar_testing.against import __main__ as against
from zipar_testing.against.loop import Loop
from zipar_testing.tiny.__main__ import main as write_tiny

# What the real checkouts offer of it, and no more.
TRANSFORMER = """
import torch
class ModelArgs:
    def __init__(self, **sizes): self.__dict__.update(sizes)
class Transformer(torch.nn.Module):
    def __init__(self, args):
        super().__init__()
        self.block_size = args.block_size
        self.sizes = [args.dim, args.n_layer, args.n_head, args.vocab_size, args.num_classes]
    def load_state_dict(self, state): self.first = float(state["output.weight"][0, 0])
    def reset_zipar(self): self.windows = getattr(self, "windows", 0) + 1
    def forward(self, label): return label
"""
GENERATE = """
def generate(model, label, count, cfg_scale, temperature, top_k, top_p, sample_logits):
    print("what others print")
    assert (temperature, top_k, top_p, sample_logits) == (1.0, 0, 1.0, False)
    for _ in range(3): model(label)
    told = [*model.sizes, cfg_scale, getattr(model, "zipar_window_size", 0), getattr(model, "windows", 0)]
    return ([int(label)] * (count - len(told)) + told,)
"""


@pytest.fixture
def path() -> Iterator[None]:
    """Leaves the import path, and what was imported from checkouts, as before."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.split(".")[0] == "autoregressive"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("llamagen")
    write_tiny(["llamagen", "--out", str(out), "--rows", "4", "--columns", "4", "--no-vq"])
    return out


def checkout(folder: Path) -> None:
    models = folder / "autoregressive" / "models"
    models.mkdir(parents=True)
    (models / "gpt.py").write_text(TRANSFORMER)
    (models / "generate.py").write_text(GENERATE)
    (models / "generate_zipar.py").write_text(GENERATE)


def answers(
    arguments: list[str], prompts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, object]]:
    monkeypatch.setattr(sys, "argv", ["against", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(prompt) + "\n" for prompt in prompts)))
    against.main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("loop", "folder", "options", "told"),
    [("llamagen", ".", [], [0, 0]), ("zipar", "LlamaGen-ZipAR", ["--window", "4"], [4, 1])],
)
def test_a_checkout_makes_images_and_what_it_prints_is_no_answer(
    loop: str,
    folder: str,
    options: list[str],
    told: list[int],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkout(tmp_path / folder)
    arguments = [loop, "--model", str(model), "--checkout", str(tmp_path), "--guidance", "4", *options]
    ready, first, second = answers(arguments, ["7", "2"], monkeypatch, capsys)
    assert ready == {"ready": True}
    assert (first["forwards"], second["forwards"]) == (3, 3)
    sizes = [64, 2, 4, 64, 10, 4]
    assert first["codes"] == [*[7] * 8, *sizes, told[0], 0]
    assert second["codes"] == [*[2] * 8, *sizes, *told]


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "needs --checkout: the folder of"), (["--checkout", "nowhere"], "nowhere is no checkout of https")],
)
@pytest.mark.parametrize("loop", ["llamagen", "zipar"])
def test_what_is_no_checkout_is_refused_with_where_to_get_one(
    loop: str, given: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        answers([loop, "--model", "any", "--guidance", "4", *given], [], monkeypatch, capsys)
    assert message in str(ended.value)
    assert "github.com" in str(ended.value)


def test_forwards_are_counted_for_each_image_anew() -> None:
    transformer = nn.Linear(1, 1)

    def generate(prompt: str) -> list[int]:
        for _ in range(int(prompt)):
            transformer(torch.zeros(1))
        return [1, 2]

    loop = Loop(transformer, generate)
    counts = [against._timed(loop, prompt)["forwards"] for prompt in ("5", "2")]
    assert counts == [5, 2]
