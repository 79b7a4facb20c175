"""`scripts/gpu-check` on the CPU, in small: that it passes, that it finds what is wrong, and that it always reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from zipar_testing.gpu_check import correctness, libraries, random_models, sizes
from zipar_testing.gpu_check.__main__ import main
from zipar_testing.gpu_check.architectures import full_architectures
from zipar_testing.gpu_check.image_times import spread
from zipar_testing.gpu_check.random_models import Served, open_random
from zipar_testing.gpu_check.step_cost import memory_estimate, weight_bytes_read
from zipar_testing.gpu_check.timed_model import build
from zipar_testing.gpu_check.wavefront import Layout, Query, planned_queries
from zipar_testing.tape_capture import Tape
from zipar_worker.execute.contract import ForwardResult, SequenceFeed
from zipar_worker.wire.arrays import Array, view_as

CUDA = torch.device("cuda", 0)
Forward = Callable[[Sequence[SequenceFeed]], ForwardResult]


def run(out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the sections by name."""
    code = main(["--out", str(out), "--device", "cpu", "--sizes", "tiny", *options])
    report = json.loads((out / "report.json").read_text())
    assert "| section | verdict |" in (out / "report.md").read_text()
    return code, {section["name"]: section for section in report["sections"]}


@pytest.fixture
def one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose scripts are recorded once, and are repeated in float32 alone."""
    whole = sizes.tiny()
    small = replace(whole, checked=whole.checked[:1], timed=whole.timed[:1])
    monkeypatch.setitem(sizes.SIZES, "tiny", lambda: small)
    monkeypatch.setattr(correctness, "HALF_TOLERANCES", {})
    monkeypatch.setattr(correctness, "record_scripts", recorded_once)


record_scripts = correctness.record_scripts
recordings: list[Any] = []


def recorded_once(*parameters: Any) -> Any:
    if not recordings:
        recordings.append(record_scripts(*parameters))
    return recordings[0]


def test_the_cpu_agrees_with_itself_and_every_section_is_measured(tmp_path: Path) -> None:
    code, sections = run(tmp_path)
    assert code == 0
    assert {section["verdict"] for section in sections.values()} == {"passed", "measured"}
    checked = [rows for name, section in sections.items() if name.startswith("same") for rows in [section["rows"]]]
    assert len(checked) == len(sizes.tiny().checked)
    for rows in checked:
        draws = {row["script"]: row["draws"] for row in rows if row["dtype"] == "float32" and row["feeds"]}
        assert len(draws) == 7 + 3 and min(draws.values()) > 0
        by_graphs = {row["dtype"] for row in rows if row["script"].endswith(", graphs")}
        assert by_graphs == {"float32", "bfloat16", "float16"}
        filtered = {row["script"]: row["of them filtered"] / row["feeds"] for row in rows if row["feeds"]}
        assert min(filtered.values()) > 0.3
        # Some of the guesses fall, so that more is drawn than the image has cells.
        assert draws["window 1, lookahead"] > 2 * 4
    assert [row["rows"] for row in sections["Emu3: forwards"]["rows"]] == [2, 4]
    assert all(row["launches"] > 50 and row["graph ms"] > 0 for row in sections["Emu3: forwards"]["rows"])
    assert [row["graphs"] for row in sections["Emu3: images"]["rows"]] == [False, True]
    assert all(row["of them run"] > 0 for row in sections["Emu3: images"]["rows"])


def swap_two_draws(forward: Forward) -> Forward:
    def swapped(feeds: Sequence[SequenceFeed]) -> ForwardResult:
        result = forward(feeds)
        if len(result.drawn_tokens) > 1:
            result.drawn_tokens[0], result.drawn_tokens[1] = result.drawn_tokens[1], result.drawn_tokens[0]
        return result

    return swapped


def forget_steps(forward: Forward) -> Forward:
    """So that guesses are seen by queries of earlier forwards."""
    return lambda feeds: forward([replace(feed, steps=[0] * len(feed.steps)) for feed in feeds])


def feed_nothing_twice(forward: Forward) -> Forward:
    """A slot keeps what was written first: a surrogate, or a guess that fell."""
    written: set[tuple[int, int]] = set()

    def once(feeds: Sequence[SequenceFeed]) -> ForwardResult:
        changed = []
        for feed in feeds:
            places = [(feed.settings.sequence, slot) for slot in feed.slots]
            tokens = [0 if place in written else token for place, token in zip(places, feed.tokens, strict=True)]
            written.update(places)
            changed.append(replace(feed, tokens=tokens))
        return forward(changed)

    return once


@pytest.mark.usefixtures("one_family")
@pytest.mark.parametrize(
    ("break_it", "found_in"),
    [
        (swap_two_draws, {"window 1", "3 sequences in odd cache rows", "window 3, lookahead"}),
        (forget_steps, {"window 1, lookahead"}),
        (feed_nothing_twice, {"window 1", "full window, lookahead"}),
    ],
)
def test_a_device_that_does_otherwise_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[Forward], Forward], found_in: set[str]
) -> None:
    serve = correctness.serve_loaded
    models: list[Served] = []

    def serve_broken(*parameters: Any) -> Served:
        models.append(serve(*parameters))
        if len(models) == 2:  # the first is the reference
            executor: Any = models[-1].executor
            executor.forward = break_it(executor.forward)
        return models[-1]

    monkeypatch.setattr(correctness, "serve_loaded", serve_broken)
    code, sections = run(tmp_path, "--only", "correctness")
    assert code == 1
    (section,) = sections.values()
    assert section["verdict"] == "FAILED"
    assert found_in <= {row["script"] for row in section["rows"] if not row["passed"]}


class TiredTape(Tape):
    """Right at its first use, when it is compared, and never again."""

    count = 0

    def replay(self) -> None:
        self.count += 1
        if self.count == 1:
            super().replay()


class EmptyTape(Tape):
    def replay(self) -> None:
        pass


@pytest.mark.usefixtures("one_family")
@pytest.mark.parametrize(("tape", "note"), [(TiredTape, ""), (EmptyTape, "gave other numbers")])
def test_graphs_that_do_otherwise_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tape: type[Tape], note: str
) -> None:
    monkeypatch.setattr("zipar_testing.tape_capture.Tape", tape)
    code, sections = run(tmp_path, "--only", "correctness")
    assert code == 1
    (section,) = sections.values()
    assert note in section["note"]
    failed = {row["script"] for row in section["rows"] if not row["passed"]}
    assert {"full window, graphs", "3 sequences in odd cache rows, graphs"} <= failed
    assert all(script.endswith(", graphs") for script in failed)


@pytest.mark.usefixtures("one_family")
def test_pixels_that_are_brighter_fail_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = correctness.serve_loaded
    models: list[Served] = []

    def serve_broken(*parameters: Any) -> Served:
        models.append(serve(*parameters))
        executor: Any = models[-1].executor
        decode, brighter = executor.decode_image, 2 * (len(models) == 2)

        def decode_image(codes: Array) -> Array:
            pixels = decode(codes)
            levels = bytes(min(255, level + brighter) for level in pixels.data)
            return replace(pixels, data=view_as(levels, "uint8"))

        executor.decode_image = decode_image
        return models[-1]

    monkeypatch.setattr(correctness, "serve_loaded", serve_broken)
    code, sections = run(tmp_path, "--only", "correctness")
    assert code == 1
    failed = [row["script"] for section in sections.values() for row in section["rows"] if not row["passed"]]
    assert failed == ["image decode"]


def test_what_the_budget_leaves_no_time_for_is_listed_as_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = replace(sizes.tiny(), checked=(), model_seconds=15.0)
    monkeypatch.setitem(sizes.SIZES, "tiny", lambda: patient)
    code, sections = run(tmp_path, "--budget-s", "1")
    assert code == 0
    skipped = [name for name, section in sections.items() if section["verdict"] == "skipped"]
    assert skipped == [name for name in sections if name != "speed of a copy"]
    assert "--budget-s" in sections["Emu3: random weights"]["note"]
    assert "Janus-Pro: forwards" in skipped


@pytest.mark.usefixtures("one_family")
def test_a_section_that_runs_out_of_memory_or_breaks_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("zipar_testing.gpu_check.check_device.measure_forwards", too_large)
    code, sections = run(tmp_path / "memory", "--only", "timings")
    assert code == 0
    assert sections["Emu3: forwards"]["verdict"] == "out of memory"
    assert sections["Emu3: pixels and memory"]["verdict"] == "measured"

    monkeypatch.setattr("zipar_testing.gpu_check.check_device.measure_forwards", broken)
    code, sections = run(tmp_path / "error", "--only", "timings")
    assert code == 1
    assert (sections["Emu3: forwards"]["verdict"], sections["Emu3: forwards"]["note"]) == (
        "error",
        "ValueError: no such thing",
    )


def test_missing_libraries_and_absent_devices_are_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--device", "cuda:99"]) == 2
    assert "'cuda:99' is not there" in capsys.readouterr().err
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "msgspec" else object())
    assert main(["--out", str(tmp_path)]) == 2
    assert "has no msgspec" in (said := capsys.readouterr().err) and "-m pip install msgspec" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_row_ends", [False, True])
@pytest.mark.parametrize("window", [1, 3, 5])
def test_the_scripted_schedule_draws_every_cell_once_from_slots_that_are_written(
    window: int, has_row_ends: bool
) -> None:
    layout = Layout(4, 5, has_row_ends, prompt_length=3)
    drawn: list[tuple[int, int]] = []
    written: dict[int, Query] = {}
    for queries in planned_queries(layout, window):
        assert all(query.token_of is None or query.token_of in drawn for query in queries)
        written |= {query.slot: query for query in queries}
        for query in queries:
            if query.draws is not None:
                assert query.slot == layout.slot(query.draws) - 1
                drawn.append(query.draws)
    assert sorted(drawn) == [(row, column) for row in range(4) for column in range(5)]
    # Every surrogate is overwritten by the token that belongs into its slot.
    own = [query.token_of for query in written.values() if query.token_of is not None]
    assert all(layout.slot(cell) == slot for slot, query in written.items() if (cell := query.token_of))
    assert len(own) == (20 if has_row_ends else 19) - has_row_ends


def test_the_schedule_of_emu3_has_the_forwards_of_the_paper() -> None:
    assert len(list(planned_queries(Layout(90, 90, True, prompt_length=64), 7))) == 713
    assert spread(range(713), 5) == [0, 178, 356, 534, 712]


@pytest.fixture
def fake_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fill_(module: nn.Module, generator: None, dtype: torch.dtype) -> None:
        for part in module.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                empty = torch.empty(parameter.shape, dtype=dtype, device=CUDA)
                setattr(part, name, nn.Parameter(empty, requires_grad=False))
            for name, buffer in list(part.named_buffers(recurse=False)):
                setattr(part, name, buffer.to(CUDA))

    class Generator:
        def __init__(self, device: torch.device) -> None: ...

        def manual_seed(self, seed: int) -> None: ...

    monkeypatch.setattr(random_models, "fill_", fill_)
    monkeypatch.setattr(random_models.torch, "Generator", Generator)
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        yield


def test_the_full_sizes_are_those_of_the_published_models() -> None:
    counts = {
        architecture.name: open_random(architecture).describe(torch.bfloat16).card.parameter_count / 1e9
        for architecture in full_architectures()
    }
    published = {"Emu3-Gen": 7.8, "LlamaGen-XL": 0.775, "Janus-Pro-7B": 6.6, "Lumina-mGPT-7B-768": 6.8}
    assert counts == pytest.approx(published, rel=0.02)


@pytest.mark.usefixtures("fake_mode")
def test_emu3_is_timed_on_cuda_at_its_full_size() -> None:
    model = build(full_architectures()[0], CUDA, "bfloat16")
    half = model.layout.slot_count // 2
    queries = [Query(slot, (0, 0), (0, 0)) for slot in range(half - 128, half)]
    outcome: Any = model.forward(queries, [(0, half)])()
    assert (outcome.device, outcome.shape) == (CUDA, (2 * 3 * 128,))
    # Transformer, image tokenizer, keys and values; a forward reads all of the first but the table of embeddings.
    assert memory_estimate(model.served) / 1e9 == pytest.approx(15.7 + 0.7 + 2.4, abs=0.1)
    assert weight_bytes_read(model.served) / 1e9 == pytest.approx(15.7 - 1.5, abs=0.05)
