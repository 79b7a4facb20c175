"""Janus-Pro against the official code (fixtures/janus_official.json) and against transformers' own classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DRAW, NONE, Driver, Feed, forward_request, start
from safetensors.torch import load_file, save_file
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import JanusForConditionalGeneration

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_testing.tiny.janus import tiny_tokenizer
from zipar_worker.checkpoints.weights import Checkpoint, stored_shapes, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.executor import TorchExecutor, _cache_row_bytes
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.janus.config import NATIVE_IMAGE_TOKENIZER_KEYS, NATIVE_KEYS, JanusConfig
from zipar_worker.families.janus.facts import model_of
from zipar_worker.families.janus.files import Files
from zipar_worker.families.janus.prompt import ASSISTANT, BEGIN_OF_IMAGE, END_OF_SENTENCE, PADDING, USER, JanusTokenizer
from zipar_worker.families.janus.transformer import JanusTransformer
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.model import OpenedModel
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import ClassConditioning, EncodePrompt, TextCard, TextConditioning

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "janus_official.json").read_text())
SIDE = 5
GUIDANCE_SCALE = 5.0
LAYOUTS = ("native", "native in shards", "transformers", "transformers in shards")
CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in every layout."""
    root = tmp_path_factory.mktemp("janus")
    for layout in LAYOUTS:
        name, _, shards = layout.partition(" ")
        arguments = ["--seed", "7", "--rows", str(SIDE), "--kv-heads", "2", "--layout", name]
        write_tiny(["janus", "--out", str(root / layout), *arguments, "--shards", "3" if shards else "1"])
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture(scope="module", params=LAYOUTS)
def driver(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Driver:
    return start(checkpoints[request.param])


@pytest.fixture
def native(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(checkpoints["native"], tmp_path / "native"))


@pytest.fixture
def hub(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy in transformers' layout to break."""
    return Path(shutil.copytree(checkpoints["transformers"], tmp_path / "transformers"))


@pytest.fixture(scope="module")
def reference(checkpoints: dict[str, Path]) -> Any:
    return JanusForConditionalGeneration.from_pretrained(checkpoints["transformers"]).eval()


def request_of(prompt: str, *, sequence: int = 1, negative_prompt: str | None = None, side: int = SIDE) -> EncodePrompt:
    return EncodePrompt(
        epoch=0,
        request=0,
        frames=(),
        sequence=sequence,
        cache_rows=(0, 1),
        rows=side,
        columns=side,
        conditioning=TextConditioning(prompt=prompt, negative_prompt=negative_prompt),
    )


def generate(driver: Driver, prompt: str) -> list[int]:
    """Greedy next-token order with guidance."""
    length = driver.executor.encode_prompt(request_of(prompt)).prompt_length
    queries = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    codes: list[int] = []
    for end in range(length, length + SIDE * SIDE):
        result = driver.forward(Feed(1, queries, [(0, end)], [0.5], GUIDANCE_SCALE))
        codes.append(result.drawn_tokens[0])
        queries = [(codes[-1], end, DRAW)]
    driver.executor.release([1])
    return codes


def decode(driver: Driver, codes: list[int]) -> torch.Tensor:
    return driver.executor._family.decode_image(torch.tensor(codes).view(SIDE, SIDE))


@pytest.mark.parametrize("image", OFFICIAL["images"], ids=["plain", "with letters of two bytes"])
def test_tokens_and_pixels_equal_those_of_the_official_code_in_every_layout(
    driver: Driver, image: dict[str, Any]
) -> None:
    assert generate(driver, image["text"]) == image["codes"]
    pixels = decode(driver, image["codes"])
    assert pixels.shape == (16 * SIDE, 16 * SIDE, 3)
    torch.testing.assert_close(pixels[::8, ::8].flatten(), torch.tensor(image["pixels"]), atol=1e-4, rtol=0)


def test_tokens_and_pixels_equal_those_that_transformers_generates(
    checkpoints: dict[str, Path], reference: Any
) -> None:
    driver = start(checkpoints["native"])
    for prompt in ("cat", "two dogs, red", "3 cats a"):
        ids = torch.tensor([JanusTokenizer(checkpoints["native"] / "tokenizer.json").encode(prompt)])
        theirs = reference.generate(
            inputs=ids, attention_mask=torch.ones_like(ids), generation_mode="image", do_sample=False
        )
        codes = generate(driver, prompt)
        assert codes == theirs[0].tolist()
        with torch.no_grad():
            pixels = reference.decode_image_tokens(theirs)[0]
        torch.testing.assert_close(decode(driver, codes), pixels, atol=1e-4, rtol=0)


def test_guidance_and_the_prompt_decide_what_is_generated(checkpoints: dict[str, Path]) -> None:
    # Otherwise the equalities above would show little.
    driver = start(checkpoints["native"])
    images = {tuple(generate(driver, prompt)) for prompt in ("cat", "red", "a cat")}
    assert len(images) == 3
    assert all(len(set(image)) > 3 for image in images)


def test_the_executor_gives_the_pixels_as_bytes(driver: Driver) -> None:
    codes = torch.tensor(OFFICIAL["images"][0]["codes"], dtype=torch.int32)
    array = Array("codes", "int32", (SIDE, SIDE), view_as(bytearray(codes.numpy().tobytes()), "int32"))
    assert driver.executor.decode_image(array).shape == (16 * SIDE, 16 * SIDE, 3)


@pytest.mark.parametrize("prompt", OFFICIAL["prompts"], ids=lambda prompt: repr(prompt["text"]))
def test_prompts_are_tokenised_as_by_the_official_code(checkpoints: dict[str, Path], prompt: dict[str, Any]) -> None:
    tokenizer = JanusTokenizer(checkpoints["native"] / "tokenizer.json")
    assert tokenizer.encode(prompt["text"]) == prompt["ids"]


def test_the_unconditional_branch_is_padding_between_the_first_and_the_last_token(
    checkpoints: dict[str, Path],
) -> None:
    driver = start(checkpoints["native"])
    encoded = driver.executor.encode_prompt(request_of("a cat"))
    held = driver.executor._held[1].prompt.embeddings
    table = driver.executor._family.transformer.embedding.weight  # type: ignore[attr-defined]
    padding = table[tiny_tokenizer().token_to_id(PADDING)]
    assert torch.equal(held[1, 1:-1], padding.expand(encoded.prompt_length - 2, -1))
    assert torch.equal(held[0, [0, -1]], held[1, [0, -1]])
    assert [(branch.padding, branch.position_offset) for branch in encoded.branches] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("typed", [BEGIN_OF_IMAGE, ASSISTANT, END_OF_SENTENCE, PADDING, USER, "<image_placeholder>"])
def test_special_tokens_that_a_user_types_are_plain_text(checkpoints: dict[str, Path], typed: str) -> None:
    tokenizer = JanusTokenizer(checkpoints["native"] / "tokenizer.json")
    special = {number for number, token in tiny_tokenizer().get_added_tokens_decoder().items() if token.special}
    spelled = tokenizer.encode(f"a {typed} cat")
    own = [token for token in spelled if token in special]
    assert own == [token for token in tokenizer.encode("cat") if token in special]
    assert tiny_tokenizer().decode(spelled, skip_special_tokens=True) == f": a {typed} cat\n\n:"


def test_a_tokenizer_without_role_tokens_spells_the_roles(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads((checkpoints["native"] / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in (USER, ASSISTANT)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    ids = JanusTokenizer(tmp_path / "tokenizer.json").encode(" cat ")
    assert tiny_tokenizer().decode(ids) == "<|User|>: cat\n\n<|Assistant|>:"


def test_the_card_says_what_the_official_code_uses(driver: Driver) -> None:
    card = driver.loaded.card
    assert (card.family, card.code_count, card.row_end, card.branches) == (
        "janus",
        64,
        "none",
        ("conditional", "unconditional"),
    )
    assert [(grid.rows, grid.columns, grid.width, grid.height) for grid in card.grids] == [(SIDE, SIDE, 80, 80)]
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=128)
    defaults = card.defaults
    assert (defaults.guidance_scale, defaults.temperature, defaults.top_k, defaults.top_p) == (5.0, 1.0, 0, 1.0)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (request_of("cat", negative_prompt="dog"), "prompt", "takes no negative prompt"),
        (request_of("!" * 120), "prompt", "has 129 tokens.* at most 128 are allowed"),
        (request_of("cat", side=SIDE + 1), "bad-request", "grids of 5 x 5 tokens, received 6 x 6"),
    ],
    ids=["negative prompt", "too long", "another grid"],
)
def test_requests_that_the_model_cannot_serve_are_refused(
    driver: Driver, request_: EncodePrompt, code: str, message: str
) -> None:
    with pytest.raises(WorkerError, match=message) as raised:
        driver.executor.encode_prompt(request_)
    assert raised.value.code == code


def test_a_class_is_refused(checkpoints: dict[str, Path]) -> None:
    request = EncodePrompt(
        epoch=0,
        request=0,
        frames=(),
        sequence=1,
        cache_rows=(0,),
        rows=SIDE,
        columns=SIDE,
        conditioning=ClassConditioning(class_index=3),
    )
    with pytest.raises(WorkerError, match="takes text, received a class"):
        start(checkpoints["native"]).executor.encode_prompt(request)


def load(path: Path, options: OpenOptions | None = None) -> None:
    opened = open_family(path, options or OpenOptions())
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda phase, completed, total, unit: None)


def refusal(path: Path, options: OpenOptions | None = None) -> str:
    with pytest.raises(WorkerError) as raised:
        load(path, options)
    assert raised.value.code == "checkpoint"
    return raised.value.message


def change_native(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = torch.load(directory / "pytorch_model.bin", weights_only=True)
    change(state)
    torch.save(state, directory / "pytorch_model.bin")


def change_config(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((directory / "config.json").read_text())
    change(config)
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "name",
    [
        "gen_head.vision_head.weight",
        "gen_embed.weight",
        "language_model.model.layers.1.mlp.up_proj.weight",
        "gen_vision_model.decoder.mid.1.q.weight",
        "gen_vision_model.quantize.embedding.weight",
    ],
)
def test_a_missing_tensor_is_named(native: Path, name: str) -> None:
    change_native(native, lambda state: state.pop(name))
    message = refusal(native)
    assert "lacks 1 tensors" in message
    assert f"needs: {name};" in message
    assert str(native) in message


@pytest.mark.parametrize(
    "name", ["gen_head.bonus", "language_model.bonus", "gen_vision_model.decoder.bonus", "bonus.weight"]
)
def test_a_tensor_without_a_place_is_refused(native: Path, name: str) -> None:
    change_native(native, lambda state: state.update({name: torch.zeros(1)}))
    message = refusal(native)
    assert f"no place for: {name}." in message


def test_tensors_of_the_understanding_side_need_not_be_there(native: Path, checkpoints: dict[str, Path]) -> None:
    elsewhere = ("vision_model.", "aligner.", "language_model.lm_head.", "gen_vision_model.encoder.")

    def drop(state: dict[str, torch.Tensor]) -> None:
        names = [name for name in state if name.startswith(elsewhere)]
        assert len(names) > 30
        for name in names:
            del state[name]

    change_native(native, drop)
    image = OFFICIAL["images"][0]
    assert generate(start(native), image["text"]) == image["codes"]


def test_a_buffer_that_old_versions_stored_is_passed_over(native: Path) -> None:
    name = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    change_native(native, lambda state: state.update({name: torch.zeros(8)}))
    load(native)


def test_a_tensor_of_another_shape_is_refused(hub: Path) -> None:
    state = load_file(hub / "model.safetensors")
    state["model.generation_head.proj_out.bias"] = torch.zeros(63)
    save_file(state, hub / "model.safetensors")
    message = refusal(hub)
    assert "model.generation_head.proj_out.bias has the shape [63]; this model needs [64]" in message
    assert str(hub) in message


def test_a_configuration_of_another_family_is_refused(native: Path) -> None:
    change_config(native, lambda config: config.update(model_type="llama"))
    assert "names the model type 'llama'" in refusal(native)


def test_janusflow_is_refused_with_its_name(native: Path) -> None:
    change_config(native, lambda config: config.pop("gen_vision_config"))
    message = refusal(native)
    assert "gen_vision_config" in message
    assert "JanusFlow is another kind of model" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda config: config["gen_aligner_config"]["params"].update(projector_type="linear"), "'linear'"),
        (lambda config: config["language_config"].update(hidden_size="wide"), "hidden_size"),
        (lambda config: config["vision_config"]["params"].update(image_size=81), "no multiple of the 16 pixels"),
        (lambda config: config["language_config"].update(max_position_embeddings=25), "leave none for a prompt"),
        (lambda config: config["gen_vision_config"]["params"].update(image_token_size=65), "64 codes of 8 numbers"),
    ],
    ids=["aligner", "language", "image size", "positions", "codebook"],
)
def test_a_configuration_that_contradicts_the_rest_is_refused(
    native: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    change_config(native, change)
    message = refusal(native)
    assert expected in message
    assert str(native) in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda config: config["vision_config"].update(num_image_tokens=24), "num_image_tokens is 24"),
        (lambda config: config["vq_config"].update(projection_dim=32), "vq_config.projection_dim is 32"),
        (lambda config: config["vision_config"].update(image_size=40, patch_size=8), "each for 16 pixels squared"),
    ],
    ids=["token count", "projection", "patch size"],
)
def test_a_configuration_of_transformers_that_contradicts_the_rest_is_refused(
    hub: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    change_config(hub, change)
    assert expected in refusal(hub)


def test_a_missing_tokenizer_is_named_and_may_lie_elsewhere(native: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (native / "tokenizer.json").rename(elsewhere / "tokenizer.json")
    message = refusal(native)
    assert str(native / "tokenizer.json") in message
    assert "Download tokenizer.json" in message
    load(native, OpenOptions(text_encoder_path=elsewhere))


@pytest.mark.parametrize(
    ("content", "expected"),
    [("{", "cannot be read as a tokenizer"), (None, "lacks the special tokens <begin_of_image>")],
    ids=["damaged", "of another model"],
)
def test_a_tokenizer_that_does_not_fit_is_refused(native: Path, content: str | None, expected: str) -> None:
    file = native / "tokenizer.json"
    file.write_text(content or file.read_text().replace(BEGIN_OF_IMAGE, "<begin_of_sound>"))
    assert expected in refusal(native)


def test_a_tokenizer_with_more_tokens_than_the_transformer_knows_is_refused(native: Path) -> None:
    content = json.loads((native / "tokenizer.json").read_text())
    content["added_tokens"][-1]["id"] = 320
    (native / "tokenizer.json").write_text(json.dumps(content))
    assert "tokenizer.json has the token 320" in refusal(native)


def test_a_missing_shard_is_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    directory = Path(shutil.copytree(checkpoints["native in shards"], tmp_path / "shards"))
    (directory / "pytorch_model-00002-of-00003.bin").unlink()
    assert "pytorch_model-00002-of-00003.bin" in refusal(directory)


def test_another_image_tokenizer_is_refused(native: Path) -> None:
    assert "holds its own image tokenizer" in refusal(native, OpenOptions(vq_path=native / "vq.pt"))


# The official sizes, from the published config.json of deepseek-ai/Janus-Pro-1B and -7B.
OFFICIAL_LANGUAGE = {
    "1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_hidden_layers": 24},
    "7B": {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 30},
}


def official_checkpoint(size: str, tokenizer: Path) -> OpenedModel:
    """Of an official shape, from tensors without content. Within `FakeTensorMode`."""
    language = LlamaConfig(vocab_size=102400, max_position_embeddings=16384, **OFFICIAL_LANGUAGE[size])
    dim, vq = language.hidden_size, LlamaGenVQConfig()
    maps = (NATIVE_KEYS, NATIVE_IMAGE_TOKENIZER_KEYS)
    config = JanusConfig(language, 16384, (8, dim, dim), (dim, dim, 16384), 24, 16, *maps)
    with without_weights():
        modules = (JanusTransformer(config), LlamaGenVQDecoder(vq))
    tensors = {
        key: torch.empty(shape, dtype=torch.bfloat16)
        for module, keys in zip(modules, maps, strict=True)
        for stored in stored_shapes(module, keys).values()
        for key, shape in stored.items()
    }
    return model_of(Files(f"Janus-Pro-{size}", config, Checkpoint(Path(size), tensors), vq, JanusTokenizer(tokenizer)))


@pytest.mark.parametrize(("size", "kv_kib"), [("1B", 192), ("7B", 480)])
def test_the_official_shape_runs_on_cuda_in_the_bytes_that_are_promised(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, size: str, kv_kib: int
) -> None:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        opened = official_checkpoint(size, checkpoints["native"] / "tokenizer.json")
        description = opened.describe(torch.bfloat16)
        family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda phase, completed, total, unit: None)
        executor = TorchExecutor()
        executor.adopt(family, description, torch.bfloat16, CUDA, 4)

        length = executor.encode_prompt(request_of("a red cat", side=24)).prompt_length
        prefill = Feed(1, [(0, slot, NONE) for slot in range(length)], [(0, length)], (), GUIDANCE_SCALE, 1.0)
        executor.forward(forward_request(executor, [prefill]))
        slots = [length + row * 24 + 14 - row for row in range(14)]
        runs = [(0, slots[0] + 1), *((length + row * 24, slot + 1) for row, slot in enumerate(slots) if row)]
        step = Feed(1, [(5, slot, DRAW) for slot in slots], runs, [0.5] * 14, GUIDANCE_SCALE, 1.0)
        outcome: Any = executor.forward(forward_request(executor, [step]))
        pixels = family.decode_image(torch.zeros(24, 24, dtype=torch.int64, device=CUDA))
    assert (outcome.device, outcome.shape) == (CUDA, (2 * 3 * 14,))
    assert (pixels.device, pixels.shape, pixels.dtype) == (CUDA, (384, 384, 3), torch.float32)

    parts = {"transformer": family.transformer, "image tokenizer": family.image_decoder}
    loaded = {name: sum(part.nbytes for part in module.parameters()) for name, module in parts.items()}
    assert loaded == description.weight_bytes
    dim, inner, layers = (
        OFFICIAL_LANGUAGE[size][key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    matrices = layers * (4 * dim * dim + 3 * dim * inner) + dim * (102400 + 16384 + 2 * dim + 8) + 16384 * 8
    assert loaded["transformer"] == pytest.approx(2 * matrices, rel=0.001)
    cache = executor._cache
    stored = sum(tensor.nbytes for tensor in (*cache.keys, *cache.values))
    assert stored == 4 * _cache_row_bytes(description, torch.bfloat16, CUDA)
    assert description.card.kv_bytes_per_slot == kv_kib * 1024
    assert description.slot_count == 512 + 576
