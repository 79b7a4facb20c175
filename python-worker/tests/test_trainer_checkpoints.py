"""Weights as training programs leave them: prefixes, wrappers, averages, leftovers, links, files of other kinds."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, Feed, sidecar, start, write_checkpoint
from plain_llamagen import PlainConfig, seeded_state
from safetensors.torch import save_file
from torch import Tensor

from zipar_worker.checkpoints.choose_weights import Sought
from zipar_worker.checkpoints.weights import open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions

CONFIG = PlainConfig()
STATE = seeded_state(CONFIG, 21)
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}
TRANSFORMER = Sought(("tok_embeddings.weight",))
TOKENIZER = Sought(("tok_embeddings.weight",), prefers_ema=True)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def is_state(tensors: Any, state: dict[str, Tensor] = STATE) -> bool:
    return tensors.keys() == state.keys() and all(torch.equal(tensors[name], state[name]) for name in state)


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


PREFIXES = (
    *("module.", "_orig_mod.", "model.", "transformer.", "net.", "_forward_module.", "state_dict.", "ema."),
    *("module._orig_mod.", "_orig_mod.module.", "model.module._orig_mod.net.", "gpt_model."),
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_prefix_that_all_tensors_share_is_taken_off(tmp_path: Path, prefix: str, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    if ending == "pt":
        saved(path, {"model": prefixed(prefix)})
    else:
        save_file(prefixed(prefix), path)
    checkpoint = open_checkpoint(path, TRANSFORMER)
    assert is_state(checkpoint.tensors) and (checkpoint.chosen, checkpoint.others) == ("", ())


def test_wrappers_of_parts_of_a_model_are_taken_off_within_names(tmp_path: Path) -> None:
    state = {name.replace("layers.0.", "layers.0._fsdp_wrapped_module._orig_mod."): STATE[name] for name in STATE}
    assert is_state(open_checkpoint(saved(tmp_path / "w.pt", prefixed("module.", state)), TRANSFORMER).tensors)


def test_a_prefix_of_some_tensors_is_named_and_not_guessed(tmp_path: Path) -> None:
    names = list(STATE)
    half = {("module." if k % 2 else "") + name: STATE[name] for k, name in enumerate(names)}
    (tmp_path / "zipar.json").write_bytes(json.dumps({**sidecar(CONFIG), "weights": "w.pt"}).encode())
    saved(tmp_path / "w.pt", half)
    with pytest.raises(WorkerError, match=rf"{len(names) // 2} of its {len(names)} tensors begin with 'module\.'"):
        start(tmp_path)


WRAPPERS: dict[str, Any] = {
    "ema alone": {"ema": STATE, "steps": 3, "args": argparse.Namespace()},
    "nested": {"checkpoint": {"model": prefixed("module.")}, "epoch": 3},
    "beside an optimizer": {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(9)}}},
        "net": STATE,
        "step": torch.tensor(3),
    },
    "another name": {"model_state_dict": STATE, "scheduler": {"last_epoch": 3}},
    "generator": {"generator": STATE, "discriminator": {"main.0.weight": torch.zeros(3)}},
    "params": {"params": STATE},
    "Lightning": {"state_dict": {**prefixed("model."), "loss.perceptual_loss.weight": torch.zeros(3)}},
    "an average of torch": {**prefixed("module."), "n_averaged": torch.tensor(7)},
    "counters of an average": {"ema": {**STATE, "num_updates": torch.tensor(3), "decay": torch.tensor(0.9)}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_weights_are_found_in_what_trainers_save(tmp_path: Path, wrapper: str) -> None:
    checkpoint = open_checkpoint(saved(tmp_path / "w.pt", WRAPPERS[wrapper]), TRANSFORMER)
    assert is_state(checkpoint.tensors) and checkpoint.others == ()


@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE, "ema": OTHER},
        {"ema": OTHER, "model": STATE},
        {"checkpoint": {"ema_model": {"module": OTHER}, "model": STATE}},
        {**prefixed("ema.", OTHER), **prefixed("model.")},
        {**STATE, "ema": OTHER},
    ],
    ids=["flat", "the other way round", "nested", "prefixes in one dictionary", "one within the other"],
)
def test_of_weights_and_their_average_the_family_chooses_and_the_user_may(tmp_path: Path, content: object) -> None:
    path = saved(tmp_path / "w.pt", content)
    assert is_state(open_checkpoint(path, TRANSFORMER).tensors)
    average = open_checkpoint(path, TOKENIZER)
    assert is_state(average.tensors, OTHER) and "ema" in average.chosen and len(average.others) == 1
    named = open_checkpoint(path, Sought(TOKENIZER.landmarks, prefers_ema=True, key=average.others[0]))
    assert is_state(named.tensors) and named.chosen == average.others[0]
    with pytest.raises(WorkerError, match=r"none is called 'raw'.*--weights-key"):
        open_checkpoint(path, Sought(TRANSFORMER.landmarks, key="raw"))


def test_the_card_says_what_was_chosen_and_a_name_that_no_file_has_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CONFIG, STATE)
    with pytest.raises(WorkerError, match=r"No file of .* holds weights called 'ema'"):
        start(tmp_path, weights_key="ema")
    (tmp_path / "zipar.json").write_bytes(json.dumps({**sidecar(CONFIG), "weights": "w.pt"}).encode())
    saved(tmp_path / "w.pt", {"model": STATE, "ema": OTHER})
    assert start(tmp_path).loaded.card.name.endswith("(weights: model, not ema)")
    assert start(tmp_path, weights_key="ema").loaded.card.name.endswith("(weights: ema, not model)")


MEANINGLESS = (
    *("layers.0.attention.kv_cache.k_cache", "layers.1.attention.kv_cache.v_cache", "freqs_cis", "causal_mask"),
    *("layers.0.rotary_emb.inv_freq", "layers.0.attention.rotary_emb.cos_cached", "num_updates", "position_ids"),
)


def test_caches_and_counters_are_passed_over_and_anything_else_is_named(tmp_path: Path) -> None:
    extra = {name: torch.zeros(2) for name in MEANINGLESS}
    write_checkpoint(tmp_path, CONFIG, prefixed("module.", {**STATE, **extra}))
    start(tmp_path)
    write_checkpoint(tmp_path, CONFIG, {**STATE, **extra, "layers.0.attention.scales": torch.zeros(2)})
    with pytest.raises(WorkerError, match=r"no place for: layers\.0\.attention\.scales\."):
        start(tmp_path)


# Files and directories.


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "safe.pt")
    assert is_state(open_checkpoint(tmp_path / "safe.pt").tensors)
    assert is_state(open_checkpoint(saved(tmp_path / "torch.safetensors", STATE)).tensors)


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weight.npy", b"x93NUMPY")
    return buffer.getvalue()


OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "HTML": (b"\n <!DOCTYPE html><html>log in</html>", "a web page"),
    "XML": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
    "JSON": (b'{"error": "gated"}', "JSON"),
    "GGUF": (b"GGUF\x03\x00\x00\x00", "GGUF"),
    "ONNX": (b"\x08\x07\x12\x07pytorch", "ONNX"),
    "NumPy": (b"\x93NUMPY\x01\x00", "NumPy array"),
    "NumPy archive": (numpy_archive(), "NumPy arrays"),
    "gzip": (b"\x1f\x8b\x08\x00", "unpack it"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "unpack it"),
    "HDF5": (b"\x89HDF\r\n", "HDF5"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_of_another_kind_is_named_with_the_way_out(tmp_path: Path, kind: str, ending: str) -> None:
    content, expected = OTHER_FILES[kind]
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(WorkerError, match=f"is of another kind: .*{expected}"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", ["model.safetensors.part", "w.pt.incomplete", "w.pt.crdownload"])
def test_a_download_that_did_not_end_is_named(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    with pytest.raises(WorkerError, match="a download that did not end"):
        open_checkpoint(tmp_path / name)
    with pytest.raises(WorkerError, match=f"the download of {name} did not end"):
        open_checkpoint(tmp_path)


def test_a_file_that_aria2_still_fetches_is_named(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors.aria2").touch()
    with pytest.raises(WorkerError, match=r"did not end \(w\.safetensors\.aria2 is still there\)"):
        open_checkpoint(tmp_path / "w.safetensors")


def test_an_index_that_was_left_behind_does_no_harm(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(STATE, "model-00001-of-00002.safetensors")}))
    assert is_state(open_checkpoint(tmp_path).tensors)
    (tmp_path / "model.safetensors").rename(tmp_path / "gone")
    with pytest.raises(WorkerError, match=r"model-00001-of-00002\.safetensors, which .* names, is missing"):
        open_checkpoint(tmp_path)
    saved(tmp_path / "pytorch_model.bin", STATE)
    assert is_state(open_checkpoint(tmp_path).tensors)


# What is no model's own.

QUANTISED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "bitsandbytes": lambda state: state.update({"layers.0.w.absmax": torch.zeros(2)}),
    "GPTQ or AWQ": lambda state: state.update({"layers.0.w.qweight": torch.zeros(2, 2, dtype=torch.int32)}),
    "HQQ": lambda state: state.update({"layers.0.w.W_q": torch.zeros(2, dtype=torch.uint8)}),
    "compressed-tensors": lambda state: state.update({"layers.0.w.weight_packed": torch.zeros(2, dtype=torch.int32)}),
    "fp8": lambda state: state.update({"layers.0.w.weight_scale_inv": torch.zeros(2)}),
    "torch.uint8": lambda state: state.update({"layers.0.w.weight": torch.zeros(2, 1, dtype=torch.uint8)}),
    "torch.float8_e4m3fn": lambda state: state.update({"output.weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)}),
}


@pytest.mark.parametrize("method", QUANTISED)
def test_quantised_weights_are_named_with_what_to_take(tmp_path: Path, method: str) -> None:
    state = dict(STATE)
    QUANTISED[method](state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WorkerError, match=rf"is quantised \(.*{method}.*full weights are needed"):
        open_checkpoint(tmp_path, TRANSFORMER)
    quantisation = {"quant_method": "mine", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(
        json.dumps({"_name_or_path": "a/Base", "text_config": {"quantization_config": quantisation}})
    )
    with pytest.raises(WorkerError, match=r"is quantised \(mine, 4 bit\).*a/Base"):
        open_checkpoint(tmp_path, TRANSFORMER)


@pytest.mark.parametrize("name", ["lora_A.default.weight", "lora_magnitude_vector", "base_layer.weight", "hada_w1_a"])
def test_adapters_are_named_with_how_to_merge_them(tmp_path: Path, name: str) -> None:
    save_file({**STATE, f"layers.0.attention.wqkv.{name}": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WorkerError, match=r"holds adapters.*merge_and_unload"):
        open_checkpoint(tmp_path / "w.safetensors")
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "a/Base", "peft_type": "LORA"})
    )
    with pytest.raises(WorkerError, match=r"holds adapters.*to a/Base"):
        open_checkpoint(tmp_path / "w.safetensors")
    with pytest.raises(WorkerError, match=r"holds an adapter \(LORA\) to a/Base"):
        open_family(tmp_path, OpenOptions())


# Classes.


def class_file(path: Path, rows: int, **arguments: object) -> Path:
    """Of the official shape B, each tensor one number that repeats."""
    config = PlainConfig(768, 12, 12, 12, 16384, rows - 1)
    from plain_llamagen import parameter_shapes

    state = {name: torch.zeros(1).expand(shape) for name, shape in parameter_shapes(config).items()}
    return saved(path, {"model": state, "args": argparse.Namespace(**arguments)})


def test_the_training_programs_own_arguments_tell_size_and_null_class(tmp_path: Path) -> None:
    path = class_file(tmp_path / "0100000.pt", 20, image_size=256, num_classes=20)
    card: Any = open_family(path, OpenOptions()).describe(torch.float32).card
    assert (card.grids[0].rows, card.conditioning.class_count) == (16, 20)
    assert (card.branches, card.defaults.guidance_scale) == (("conditional",), 1.0)


def test_a_round_number_of_rows_is_doubted(tmp_path: Path) -> None:
    for rows, doubted in ((20, True), (21, False)):
        card: Any = open_family(class_file(tmp_path / "c2i_B_256.pt", rows), OpenOptions()).describe(torch.float32).card
        assert card.conditioning.class_count == rows - 1
        assert ("hasNullClass" in card.name) == doubted


def test_a_table_of_rotations_for_another_grid_gives_a_wrong_size_away(tmp_path: Path) -> None:
    path = class_file(tmp_path / "c2i_B_256.pt", 21)
    content = torch.load(path, weights_only=False)
    for slots in (1 + 16 * 16, 1 + 32 * 32):
        saved(path, {"model": {**content["model"], "freqs_cis": torch.zeros(1, 1, 2).expand(slots, 32, 2)}})
        if slots == 257:
            open_family(path, OpenOptions())
        else:
            with pytest.raises(WorkerError, match=r"trained for 1025 slots.*16 x 16 tokens has 257"):
                open_family(path, OpenOptions())


def test_a_sidecar_may_say_that_there_is_no_null_class(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CONFIG, STATE)
    rows = len(STATE["cls_embedding.embedding_table.weight"])
    content: Any = sidecar(CONFIG)
    content["config"] |= {"classCount": rows, "hasNullClass": False}
    (tmp_path / "zipar.json").write_text(json.dumps(content))
    driver = start(tmp_path)
    assert driver.loaded.card.branches == ("conditional",)
    driver.encode(1, rows - 1, (0,))
    assert len(driver.forward(Feed(1, [(0, 0, DISTRIBUTION)], [(0, 1)], temperature=1.0)).distribution_lengths) == 1
    content["defaults"] = {"guidanceScale": 2, "temperature": 1, "topK": 0, "topP": 1, "window": 1}
    (tmp_path / "zipar.json").write_text(json.dumps(content))
    with pytest.raises(WorkerError, match="without a null class"):
        start(tmp_path)


def test_names_of_strangers_are_made_harmless(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CONFIG, STATE)
    content: Any = sidecar(CONFIG)
    content |= {"name": "a\x1b[31m\nb\u202e", "classNames": ["\x07bell", *"bcdefg"]}
    content["config"]["classCount"] = 7
    (tmp_path / "zipar.json").write_text(json.dumps(content))
    card: Any = open_family(tmp_path, OpenOptions()).describe(torch.float32).card
    assert card.name == "a\ufffd[31m b\ufffd" and card.conditioning.class_names[0] == "\ufffdbell"
    assert "\x1b" not in WorkerError("checkpoint", "the tensor \x1b[2J").message
