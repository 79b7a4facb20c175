"""The LlamaGen family: figures of the official code, recognition of its files, the sidecar, the model card."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, DRAW, Feed, sidecar, start, write_checkpoint
from plain_llamagen import PlainConfig, parameter_shapes, seeded_state
from safetensors.torch import save_file
from torch import Tensor

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_testing.tiny.llamagen import OFFICIAL_CLASSES, OFFICIAL_CODES
from zipar_worker.checkpoints.weights import stored_shapes, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llamagen.files import read_files
from zipar_worker.families.llamagen.shapes import OFFICIAL_HEADS
from zipar_worker.families.llamagen.transformer import KEYS, ClassCondition, LlamaGenConfig, LlamaGenTransformer
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder
from zipar_worker.wire.arrays import Array, view_as

CASES = json.loads((Path(__file__).parent / "fixtures" / "llamagen_official.json").read_text())["cases"]
PARAMETER_COUNTS = {"B": 111e6, "L": 343e6, "XL": 775e6, "XXL": 1.4e9, "3B": 3.1e9}


def case_name(case: dict[str, Any]) -> str:
    return "-".join(str(case["config"][key]) for key in ("dim", "layers", "heads", "kv_heads"))


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_logits_equal_the_official_codes(case: dict[str, Any], tmp_path: Path) -> None:
    config = PlainConfig(**case["config"])
    driver = start(write_checkpoint(tmp_path, config, seeded_state(config, case["seed"])))
    driver.encode(1, case["classIndex"], (0, 1))
    queries = list(enumerate([0, *case["tokens"]]))
    for scale, key, stride in ((1.0, "logits", 1), (0.0, "unconditionalLogits", 4)):
        feed = Feed(
            sequence=1,
            queries=[(token, slot, DISTRIBUTION) for slot, token in queries],
            runs=[(0, len(queries))],
            guidance_scale=scale,
            temperature=1.0,
        )
        probabilities = torch.tensor(driver.forward(feed).distribution_probabilities.tolist()).view(len(queries), -1)
        expected = torch.tensor(case[key]).log_softmax(-1)
        torch.testing.assert_close(probabilities.log()[::stride], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", [case for case in CASES if "greedy" in case], ids=case_name)
def test_greedy_tokens_equal_the_official_codes_at_every_guidance_scale(case: dict[str, Any], tmp_path: Path) -> None:
    config = PlainConfig(**case["config"])
    driver = start(write_checkpoint(tmp_path, config, seeded_state(config, case["seed"])))
    for sequence, (scale, expected) in enumerate(case["greedy"].items()):
        driver.encode(sequence, case["classIndex"], (0, 1))
        tokens: list[int] = []
        for slot in range(config.rows * config.columns):
            query = (tokens[-1] if tokens else 0, slot, DRAW)
            feed = Feed(sequence, [query], [(0, slot + 1)], [0.0], guidance_scale=float(scale))
            tokens.extend(driver.forward(feed).drawn_tokens)
        assert tokens == expected
        driver.executor.release([sequence])


def shape_only_file(path: Path, shape: str) -> Path:
    """A weights file with all tensors of an official size that takes no space: every tensor repeats one number."""
    dim, layers, heads = next(
        (dim, layers, heads) for (name, dim, layers), heads in OFFICIAL_HEADS.items() if name == shape
    )
    config = PlainConfig(dim, layers, heads, heads, OFFICIAL_CODES, OFFICIAL_CLASSES)
    state = {name: torch.zeros(1).expand(size) for name, size in parameter_shapes(config).items()}
    torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize(
    ("shape", "size", "side"), [("B", 256, 16), ("L", 384, 24), ("XL", 384, 24), ("XXL", 384, 24), ("3B", 384, 24)]
)
def test_official_files_are_recognised_by_shape_and_name(tmp_path: Path, shape: str, size: int, side: int) -> None:
    path = shape_only_file(tmp_path / f"c2i_{shape}_{size}.pt", shape)
    files = read_files(tmp_path if shape == "B" else path, OpenOptions())
    config = files.config
    assert files.name == f"LlamaGen-{shape}"
    assert (config.rows, config.columns, config.vocabulary_size) == (side, side, 16384)
    assert config.condition == ClassCondition(1000)
    assert config.kv_head_count == config.head_count
    with without_weights():
        transformer = LlamaGenTransformer(config)
    shapes = {key: shape for stored in stored_shapes(transformer, KEYS).values() for key, shape in stored.items()}
    assert shapes == {name: files.checkpoint.shape(name) for name in files.checkpoint.tensors}
    count = sum(parameter.numel() for parameter in transformer.parameters())
    assert count == pytest.approx(PARAMETER_COUNTS[shape], rel=0.03)


def test_a_size_that_nobody_gives_is_asked_for_and_one_that_is_given_decides(tmp_path: Path) -> None:
    path = shape_only_file(tmp_path / "mine.pt", "B")
    with pytest.raises(WorkerError, match="--size"):
        read_files(path, OpenOptions())
    with pytest.raises(WorkerError, match="multiple of 16"):
        read_files(path, OpenOptions(size=(256, 250)))
    config = read_files(path, OpenOptions(size=(512, 256))).config
    assert (config.rows, config.columns) == (16, 32)


def test_an_unknown_size_asks_for_a_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "c2i_B_256.pt"
    torch.save({"model": seeded_state(PlainConfig(), 1)}, path)
    with pytest.raises(WorkerError, match=r"dim 64 and 2 layers.*zipar\.json"):
        read_files(path, OpenOptions())


def test_a_directory_without_a_sidecar_must_leave_no_doubt(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="found none"):
        read_files(tmp_path, OpenOptions())
    for name in ("c2i_B_256.pt", "c2i_L_256.pt"):
        (tmp_path / name).touch()
    with pytest.raises(WorkerError, match=r"found c2i_B_256\.pt, c2i_L_256\.pt"):
        read_files(tmp_path, OpenOptions())


def official_vq_file(path: Path, multipliers: tuple[int, ...], codes: int = 16384) -> Path:
    """Decoder tensors of an official size, beside encoder tensors that the worker has no use for."""
    with without_weights():
        decoder = LlamaGenVQDecoder(LlamaGenVQConfig(codebook_size=codes, channel_multipliers=multipliers))
    state: dict[str, Tensor] = {
        name: torch.zeros(1).expand(parameter.shape) for name, parameter in decoder.named_parameters()
    }
    state |= {"encoder.conv_in.weight": torch.zeros(2), "quantize.codebook_used": torch.zeros(3)}
    torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize(("factor", "multipliers"), [(16, (1, 1, 2, 2, 4)), (8, (1, 2, 2, 4))], ids=["VQ-16", "VQ-8"])
def test_the_image_tokenizer_beside_the_weights_is_found_and_recognised(
    tmp_path: Path, factor: int, multipliers: tuple[int, ...]
) -> None:
    path = shape_only_file(tmp_path / "c2i_B_256.pt", "B")
    official_vq_file(tmp_path / f"vq_ds{factor}_c2i.pt", multipliers)
    files = read_files(path, OpenOptions())
    assert files.tokenizer is not None
    assert files.tokenizer.config == LlamaGenVQConfig(channel_multipliers=multipliers)
    assert (files.config.rows, files.config.columns) == (256 // factor, 256 // factor)


def test_of_two_image_tokenizers_the_one_of_the_training_is_taken_or_asked_for(tmp_path: Path) -> None:
    vq = {
        8: official_vq_file(tmp_path / "vq_ds8_c2i.pt", (1, 2, 2, 4)),
        16: official_vq_file(tmp_path / "vq_ds16_c2i.pt", (1, 1, 2, 2, 4)),
    }
    official = shape_only_file(tmp_path / "c2i_B_256.pt", "B")
    own = tmp_path / "0100000.pt"
    assert read_files(official, OpenOptions()).config.rows == 16
    content = torch.load(official)
    torch.save(content, own)
    for place in (None, tmp_path):
        with pytest.raises(WorkerError, match=r"vq_ds16_c2i\.pt \(16 pixels a token\) and vq_ds8_c2i.*`--vq FILE`"):
            read_files(own, OpenOptions(size=(256, 256), vq_path=place))
    for factor, path in vq.items():
        assert read_files(own, OpenOptions(size=(256, 256), vq_path=path)).config.rows == 256 // factor
        torch.save({**content, "args": Namespace(downsample_size=factor, image_size=256)}, own)
        assert read_files(own, OpenOptions()).config.rows == 256 // factor
        torch.save(content, own)
    official_vq_file(vq[8], (1, 2, 2, 4), codes=512)
    assert read_files(own, OpenOptions(size=(256, 256))).config.rows == 16


def test_an_image_tokenizer_of_another_codebook_is_refused(tmp_path: Path) -> None:
    path = shape_only_file(tmp_path / "c2i_B_256.pt", "B")
    vq = official_vq_file(tmp_path / "other.pt", (1, 1, 2, 2, 4), codes=512)
    with pytest.raises(WorkerError, match=r"512 codes.*16384"):
        read_files(path, OpenOptions(vq_path=vq))


def test_a_tiny_checkpoint_loads_generates_and_decodes(tmp_path: Path) -> None:
    write_tiny(["llamagen", "--out", str(tmp_path), "--seed", "4", "--rows", "3", "--columns", "5"])
    driver = start(tmp_path)
    card = driver.loaded.card
    assert (card.family, card.code_count, card.row_end) == ("llamagen", 64, "none")
    assert card.branches == ("conditional", "unconditional")
    assert (card.grids[0].rows, card.grids[0].columns) == (3, 5)
    assert card.image_decoder is not None and card.image_decoder.pixels_per_token == 2
    assert (card.grids[0].height, card.grids[0].width) == (6, 10)
    assert card.kv_bytes_per_slot == 2 * 2 * 64 * 4
    assert driver.loaded.slot_count == 1 + 3 * 5
    driver.encode(1, 9, (0, 1))
    assert 0 <= driver.forward(Feed(1, [(0, 0, DRAW)], [(0, 1)], [0.5], 4.0, 1.0)).drawn_tokens[0] < 64
    codes = Array("codes", "int32", (3, 5), view_as(torch.arange(15, dtype=torch.int32).numpy().tobytes(), "int32"))
    pixels = driver.executor.decode_image(codes)
    assert (pixels.dtype, pixels.shape) == ("uint8", (6, 10, 3))
    assert len(set(pixels.data.tolist())) > 10


def test_pixels_are_those_of_the_decoder_in_rows_columns_and_channels(tmp_path: Path) -> None:
    write_tiny(["llamagen", "--out", str(tmp_path), "--seed", "4", "--rows", "2", "--columns", "3"])
    family = open_family(tmp_path, OpenOptions()).load(
        dtype=torch.float32,
        device=torch.device("cpu"),
        report=lambda phase, completed, total, unit: None,
    )
    grid = torch.tensor([[1, 2, 3], [4, 5, 6]])
    values = family.decode_image(grid)
    assert values.shape == (4, 6, 3)
    codes = Array("codes", "int32", (2, 3), view_as(grid.int().numpy().tobytes(), "int32"))
    pixels = torch.tensor(start(tmp_path).executor.decode_image(codes).data.tolist()).view(4, 6, 3)
    torch.testing.assert_close(pixels.float(), (values.clamp(-1, 1) + 1) * 127.5, atol=0.51, rtol=0)


def test_a_wrong_grid_and_a_wrong_class_are_bad_requests(tmp_path: Path) -> None:
    write_tiny(["llamagen", "--out", str(tmp_path), "--no-vq"])
    driver = start(tmp_path)
    with pytest.raises(WorkerError, match=r"0\.\.9") as caught:
        driver.encode(1, 10, (0, 1))
    assert caught.value.code == "bad-request"
    driver.loaded = replace(driver.loaded, card=replace_grid(driver.loaded.card))
    with pytest.raises(WorkerError, match="8 x 8") as caught:
        driver.encode(1, 0, (0, 1))
    assert caught.value.code == "bad-request"


def replace_grid(card: Any) -> Any:
    from msgspec import structs

    return structs.replace(card, grids=(structs.replace(card.grids[0], rows=4),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"family": "unknown"}, "knows .*llamagen"),
        ({"weights": "../model.safetensors"}, "same directory"),
        ({"weights": "/etc/passwd"}, "same directory"),
        ({"weights": "absent.safetensors"}, "does not exist"),
        ({"classNames": ["one"]}, "1 entries for classCount 7"),
        ({"config": {}}, "dim"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_sidecar_that_cannot_be_used_says_why(tmp_path: Path, change: dict[str, object], message: str) -> None:
    config = PlainConfig()
    write_checkpoint(tmp_path, config, seeded_state(config, 1))
    (tmp_path / "zipar.json").write_text(json.dumps({**sidecar(config), **change}))
    with pytest.raises(WorkerError, match=message) as caught:
        start(tmp_path)
    assert caught.value.code == "checkpoint"


@pytest.mark.parametrize(("key", "value"), [("heads", 5), ("heads", 32), ("kvHeads", 3)])
def test_heads_that_do_not_divide_the_model_are_refused(tmp_path: Path, key: str, value: int) -> None:
    content: Any = sidecar(PlainConfig())
    content["config"][key] = value
    (tmp_path / "zipar.json").write_text(json.dumps(content))
    with pytest.raises(WorkerError, match="contradicts itself"):
        read_files(tmp_path, OpenOptions())


def test_a_sidecar_with_names_and_defaults_fills_the_card(tmp_path: Path) -> None:
    config = replace(PlainConfig(), classes=2)
    content = sidecar(config) | {
        "name": "Weather",
        "classNames": ["sun", "rain"],
        "defaults": {"guidanceScale": 1.5, "temperature": 0.9, "topK": 5, "topP": 0.8, "window": 3},
    }
    write_checkpoint(tmp_path, config, seeded_state(config, 1))
    (tmp_path / "zipar.json").write_text(json.dumps(content))
    card: Any = start(tmp_path).loaded.card
    assert (card.name, card.conditioning.class_names) == ("Weather", ("sun", "rain"))
    assert (card.defaults.guidance_scale, card.defaults.window) == (1.5, 3)


def test_the_sidecar_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "zipar.json").write_text("{")
    with pytest.raises(WorkerError, match=r"zipar\.json cannot be used"):
        start(tmp_path)


def test_the_condition_leaves_no_trace_in_queries_and_keys() -> None:
    with without_weights():
        model = LlamaGenTransformer(LlamaGenConfig(64, 1, 4, 4, 8, ClassCondition(2), 3, 4))
    assert model.rotary.rotations.shape == (13, 8)
    assert model.rotary.rotations[0].abs().sum() == 0
    torch.testing.assert_close(model.rotary.rotations[1:].abs(), torch.ones(12, 8))


def test_a_safetensors_file_of_an_official_size_needs_only_the_size(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    config = PlainConfig(768, 12, 12, 12, 32, 3)
    state = {name: torch.zeros(1) for name in parameter_shapes(config)}
    for name in ("tok_embeddings.weight", "cls_embedding.embedding_table.weight", "layers.0.attention.wqkv.weight"):
        state[name] = torch.zeros(parameter_shapes(config)[name])
    save_file(state, path)
    files = read_files(path, OpenOptions(size=(128, 128)))
    assert (files.name, files.config.rows) == ("LlamaGen-B", 8)
