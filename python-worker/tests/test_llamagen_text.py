"""LlamaGen for captions against figures of the official code (fixtures/llamagen_text_official.json)."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from caption_checkpoint import load_fixture, write_caption_checkpoint
from executor_driver import DISTRIBUTION, DRAW, NONE, Driver, Feed, forward_request, runs_of, start
from msgspec import structs
from plain_llamagen import PlainConfig, PlainSequence, parameter_shapes
from safetensors.torch import load_file, save_file
from test_llamagen import official_vq_file
from token_images import encode_request
from tokenizers import Tokenizer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_testing.tiny.llamagen_text_encoder import tiny_tokenizer, write_text_encoder
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, Checkpoint, stored_shapes, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llamagen import model_of
from zipar_worker.families.llamagen.caption import clean_caption
from zipar_worker.families.llamagen.files import Files, ImageTokenizer, official_defaults, read_files
from zipar_worker.families.llamagen.text_encoder import (
    OpenedTextEncoder,
    TextEncoder,
    TextEncoderSettings,
    build_encoder,
    caption_tokens,
    cleaned_prompt,
    encoder_dtype,
    open_text_encoder,
)
from zipar_worker.families.llamagen.transformer import KEYS, CaptionCondition, LlamaGenConfig, LlamaGenTransformer
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import ClassConditioning, EncodePrompt, TextCard, TextConditioning

FIXTURE = load_fixture()
CASES = FIXTURE["cases"]
CAPTION_LENGTH = 120
CUDA = torch.device("cuda", 0)


def quiet(phase: str, completed: float, total: float | None, unit: str) -> None:
    """Nobody watches the loading."""


def request_of(driver: Driver, prompt: str, *, sequence: int = 1, branch_count: int = 2, **change: Any) -> EncodePrompt:
    grid = driver.loaded.card.grids[0]
    request = EncodePrompt(
        epoch=0,
        request=0,
        frames=(),
        sequence=sequence,
        cache_rows=tuple(range(branch_count)),
        rows=grid.rows,
        columns=grid.columns,
        conditioning=TextConditioning(prompt=prompt, negative_prompt=None),
    )
    return structs.replace(request, **change)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The checkpoints of the fixture's cases, by seed."""
    return {
        case["seed"]: write_caption_checkpoint(
            tmp_path_factory.mktemp("captions"), case["seed"], FIXTURE["tokenizer"], case["options"]
        )
        for case in {case["seed"]: case for case in CASES}.values()
    }


@pytest.fixture(scope="module")
def drivers(checkpoints: dict[int, Path]) -> dict[int, Driver]:
    return {seed: start(path) for seed, path in checkpoints.items()}


@pytest.fixture(scope="module")
def text_encoder(checkpoints: dict[int, Path]) -> TextEncoder:
    opened = open_text_encoder(checkpoints[CASES[0]["seed"]] / "model.safetensors", None)
    return opened.load(CAPTION_LENGTH, dtype=torch.float32, device=torch.device("cpu"), report=quiet)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(json.dumps(FIXTURE["tokenizer"]))


def tokens_of(tokenizer: Tokenizer, prompt: str) -> list[int]:
    return caption_tokens(tokenizer, cleaned_prompt(prompt, CAPTION_LENGTH), CAPTION_LENGTH)


def case_name(case: dict[str, Any]) -> str:
    return str(case["prompt"])


@pytest.mark.parametrize(("caption", "cleaned"), FIXTURE["cleaning"], ids=lambda text: repr(text[:30]))
def test_captions_are_cleaned_as_by_the_official_code(caption: str, cleaned: str) -> None:
    assert clean_caption(caption) == cleaned


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_token_ids_equal_those_of_the_official_code(case: dict[str, Any], tokenizer: Tokenizer) -> None:
    assert tokens_of(tokenizer, case["prompt"]) == case["tokenIds"]


def test_token_ids_equal_those_of_transformers(checkpoints: dict[int, Path], tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(checkpoints[CASES[0]["seed"]] / "flan-t5-xl")
    for caption, cleaned in FIXTURE["cleaning"]:
        if cleaned and cleaned.isascii():
            assert tokens_of(tokenizer, caption) == theirs(cleaned).input_ids


@pytest.mark.parametrize("case", [case for case in CASES if case["seed"] == CASES[0]["seed"]], ids=case_name)
def test_features_lie_at_the_end_and_equal_those_of_transformers(
    case: dict[str, Any], checkpoints: dict[int, Path], text_encoder: TextEncoder
) -> None:
    from transformers import T5EncoderModel

    count = len(case["tokenIds"])
    with torch.inference_mode():
        caption = text_encoder.encode(case["prompt"])
        theirs = T5EncoderModel.from_pretrained(checkpoints[case["seed"]] / "flan-t5-xl").eval()
        expected = theirs(input_ids=torch.tensor([case["tokenIds"]])).last_hidden_state[0]
    assert caption.padding == CAPTION_LENGTH - count
    assert caption.features[: caption.padding].abs().sum() == 0
    torch.testing.assert_close(caption.features[caption.padding :], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(caption.features[-2], torch.tensor(case["features"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_logits_equal_the_official_codes(case: dict[str, Any], drivers: dict[int, Driver]) -> None:
    driver = drivers[case["seed"]]
    driver.executor.encode_prompt(request_of(driver, case["prompt"]))
    wants = [NONE] * (CAPTION_LENGTH - 1) + [DISTRIBUTION] * (len(case["tokens"]) + 1)
    tokens = [0] * CAPTION_LENGTH + case["tokens"]
    queries = [(token, slot, want) for slot, (token, want) in enumerate(zip(tokens, wants, strict=True))]
    for scale, key in ((1.0, "logits"), (0.0, "unconditionalLogits")):
        feed = Feed(1, queries, [(0, len(queries))], guidance_scale=scale, temperature=1.0)
        result = driver.forward(feed)
        probabilities = torch.tensor(result.distribution_probabilities.tolist()).view(len(case["tokens"]) + 1, -1)
        expected = torch.tensor(case[key]).log_softmax(-1)
        torch.testing.assert_close(probabilities.log()[::5], expected, atol=2e-4, rtol=1e-4)
    driver.executor.release([1])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_greedy_tokens_and_their_pixels_equal_the_official_codes(
    case: dict[str, Any], drivers: dict[int, Driver]
) -> None:
    driver = drivers[case["seed"]]
    rows, columns = case["options"]["rows"], case["options"]["columns"]
    for sequence, (scale, expected) in enumerate(case["greedy"].items()):
        driver.executor.encode_prompt(request_of(driver, case["prompt"], sequence=sequence))
        queries = [(0, slot, NONE) for slot in range(CAPTION_LENGTH - 1)] + [(0, CAPTION_LENGTH - 1, DRAW)]
        tokens: list[int] = []
        for end in range(CAPTION_LENGTH, CAPTION_LENGTH + rows * columns):
            result = driver.forward(Feed(sequence, queries, [(0, end)], [0.0], guidance_scale=float(scale)))
            tokens.extend(result.drawn_tokens)
            queries = [(tokens[-1], end, DRAW)]
        assert tokens == expected
        driver.executor.release([sequence])
    codes = torch.tensor(tokens, dtype=torch.int32).numpy().tobytes()
    pixels = driver.executor.decode_image(Array("codes", "int32", (rows, columns), view_as(codes, "int32")))
    expected_levels = (torch.tensor(case["pixels"]).clamp(-1, 1) + 1) * 127.5
    assert pixels.shape == (2 * rows, 2 * columns, 3)
    torch.testing.assert_close(torch.tensor(pixels.data.tolist()).float(), expected_levels, atol=0.51, rtol=0)


class CaptionSequence(PlainSequence):
    """One branch of one image, whose prompt is the projection of the caption's features."""

    def __init__(self, config: PlainConfig, state: dict[str, Tensor], features: Tensor) -> None:
        super().__init__(config, state, class_index=0)
        inner = self.state["cls_embedding.cap_proj.fc1.weight"] @ features.double().T
        curve = inner * (1 + ((inner + 0.044715 * inner**3) * math.sqrt(2 / math.pi)).tanh()) / 2
        self.prompt = (self.state["cls_embedding.cap_proj.fc2.weight"] @ curve).T

    def _embed(self, token: int, slot: int) -> Tensor:
        return self.prompt[slot] if slot < CAPTION_LENGTH else self.state["tok_embeddings.weight"][token]

    def _turn(self, heads: Tensor, slot: int) -> Tensor:
        return super()._turn(heads, max(slot - CAPTION_LENGTH + 1, 0))


@pytest.mark.parametrize("window", [1, 2, 3])
def test_every_step_of_a_window_equals_a_plain_implementation(
    window: int, checkpoints: dict[int, Path], drivers: dict[int, Driver], text_encoder: TextEncoder
) -> None:
    case = CASES[0]
    rows, columns, first = 4, 4, CAPTION_LENGTH
    driver, state = drivers[case["seed"]], load_file(checkpoints[case["seed"]] / "model.safetensors")
    with torch.inference_mode():
        caption = text_encoder.encode(case["prompt"])
    config = PlainConfig(codes=64, rows=rows, columns=columns)
    branches = [
        CaptionSequence(config, state, features)
        for features in (caption.features, state["cls_embedding.uncond_embedding"])
    ]
    driver.executor.encode_prompt(request_of(driver, case["prompt"]))
    visible = set(range(caption.padding, first))
    for branch in branches:
        branch.feed([(0, slot) for slot in sorted(visible)], visible)
    driver.forward(Feed(1, [(0, slot, NONE) for slot in range(first)], [(0, first)], guidance_scale=7.5))
    for step in range(columns + (rows - 1) * window):
        cells = [(row, step - row * window) for row in range(rows) if 0 <= step - row * window < columns]
        queries = [((5 * row + 3 * column) % 64, first + row * columns + column) for row, column in cells]
        visible |= {slot for _, slot in queries}
        conditional, unconditional = (branch.feed(queries, visible) for branch in branches)
        feed = Feed(
            sequence=1,
            queries=[(token, slot, DISTRIBUTION) for token, slot in queries],
            runs=runs_of(visible | set(range(first))),
            guidance_scale=7.5,
            temperature=1.0,
        )
        received = torch.tensor(driver.forward(feed).distribution_probabilities.tolist()).view(len(queries), -1)
        for probabilities, c, u in zip(received, conditional, unconditional, strict=True):
            expected = (u + 7.5 * (c - u)).softmax(-1).float()
            torch.testing.assert_close(probabilities, expected, atol=1e-4, rtol=1e-3)
    driver.executor.release([1])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_decoded_values_equal_the_official_codes(case: dict[str, Any], checkpoints: dict[int, Path]) -> None:
    opened = open_family(checkpoints[case["seed"]], OpenOptions())
    family = opened.load(dtype=torch.float32, device=torch.device("cpu"), report=quiet)
    codes = torch.tensor(case["greedy"]["7.5"]).view(case["options"]["rows"], -1)
    torch.testing.assert_close(family.decode_image(codes).flatten(), torch.tensor(case["pixels"]), atol=1e-4, rtol=0)


def test_both_branches_have_the_padding_of_the_caption_and_positions_from_the_first_slot(
    drivers: dict[int, Driver],
) -> None:
    case = CASES[0]
    driver = drivers[case["seed"]]
    prompt = driver.executor.encode_prompt(request_of(driver, case["prompt"]))
    padding = CAPTION_LENGTH - len(case["tokenIds"])
    assert prompt.prompt_length == CAPTION_LENGTH
    assert [(branch.name, branch.padding, branch.position_offset) for branch in prompt.branches] == [
        ("conditional", padding, 0),
        ("unconditional", padding, 0),
    ]
    alone = driver.executor.encode_prompt(request_of(driver, case["prompt"], sequence=2, branch_count=1))
    assert [branch.name for branch in alone.branches] == ["conditional"]
    driver.executor.release([1, 2])


def test_no_slot_of_a_caption_is_rotated() -> None:
    with without_weights():
        model = LlamaGenTransformer(LlamaGenConfig(64, 1, 4, 4, 8, CaptionCondition(5, 16), 3, 4))
    assert model.rotary.rotations.shape == (17, 8)
    assert model.rotary.rotations[:5].abs().sum() == 0
    torch.testing.assert_close(model.rotary.rotations[5:].abs(), torch.ones(12, 8))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("red cat " * 60, r"121 tokens.*at most 120"),
        ("x" * 4097, "4097 characters.*at most 4096"),
        ("漢字", "Nothing is left"),
        ("a <![ab[c", "markup"),
    ],
    ids=["too many tokens", "too many characters", "nothing left", "unfinished markup"],
)
def test_a_prompt_that_cannot_be_used_says_why(prompt: str, message: str, drivers: dict[int, Driver]) -> None:
    driver = next(iter(drivers.values()))
    with pytest.raises(WorkerError, match=message) as caught:
        driver.executor.encode_prompt(request_of(driver, prompt))
    assert caught.value.code == "prompt"


def test_the_longest_caption_has_no_padding_and_the_empty_one_has_its_end_mark(text_encoder: TextEncoder) -> None:
    with torch.inference_mode():
        assert text_encoder.encode("red cat " * 59 + "red").padding == 0
        assert text_encoder.encode("").padding == CAPTION_LENGTH - 1


def test_negative_prompts_and_classes_are_refused(drivers: dict[int, Driver]) -> None:
    driver = next(iter(drivers.values()))
    negative = TextConditioning(prompt="a cat", negative_prompt="a dog")
    for conditioning, code in ((negative, "prompt"), (ClassConditioning(class_index=1), "bad-request")):
        with pytest.raises(WorkerError) as caught:
            driver.executor.encode_prompt(request_of(driver, "", conditioning=conditioning))
        assert caught.value.code == code


def test_the_encoder_never_runs_in_float16() -> None:
    assert encoder_dtype(torch.float16) == torch.bfloat16
    assert encoder_dtype(torch.bfloat16) == torch.bfloat16
    assert encoder_dtype(torch.float32) == torch.float32


def test_the_card_tells_of_captions(drivers: dict[int, Driver]) -> None:
    loaded = drivers[CASES[0]["seed"]].loaded
    assert loaded.card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=CAPTION_LENGTH)
    assert loaded.card.branches == ("conditional", "unconditional")
    assert (loaded.card.defaults.guidance_scale, loaded.card.defaults.top_k) == (7.5, 0)
    assert loaded.slot_count == CAPTION_LENGTH + 16


def shape_only_file(path: Path) -> Path:
    """The tensors of the published text-to-image transformers in a file that takes no space."""
    shapes = parameter_shapes(PlainConfig(1280, 36, 20, 20, 16384, 1000))
    del shapes["cls_embedding.embedding_table.weight"]
    shapes |= {
        "cls_embedding.cap_proj.fc1.weight": (1280, 2048),
        "cls_embedding.cap_proj.fc2.weight": (1280, 1280),
        "cls_embedding.uncond_embedding": (CAPTION_LENGTH, 2048),
    }
    torch.save({"model": {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}}, path)
    return path


@pytest.mark.parametrize(
    ("name", "side", "place"),
    [("t2i_XL_stage1_256.pt", 16, "flan-t5-xl"), ("t2i_XL_stage2_512.pt", 32, "t5-ckpt/flan-t5-xl")],
)
def test_official_files_are_recognised_with_what_lies_beside_them(
    tmp_path: Path, name: str, side: int, place: str
) -> None:
    shape_only_file(tmp_path / name)
    write_text_encoder(tmp_path / place, 2048, torch.Generator())
    # Both image tokenizers may lie there; that for classes must not be taken.
    official_vq_file(tmp_path / "vq_ds8_c2i.pt", (1, 2, 2, 4))
    official_vq_file(tmp_path / "vq_ds16_c2i.pt", (1, 1, 2, 2, 4), codes=512)
    official_vq_file(tmp_path / "vq_ds16_t2i.pt", (1, 1, 2, 2, 4))
    description = open_family(tmp_path, OpenOptions()).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.name) == ("llamagen", "LlamaGen-XL text-to-image")
    assert card.parameter_count == pytest.approx(775e6, rel=0.03)
    assert [(grid.rows, grid.columns, grid.width) for grid in card.grids] == [(side, side, 16 * side)]
    assert (card.defaults.guidance_scale, card.defaults.top_k, card.defaults.window) == (7.5, 1000, 8)
    assert description.slot_count == CAPTION_LENGTH + side * side
    assert description.weight_bytes["transformer"] == 2 * card.parameter_count
    assert set(description.weight_bytes) == {"transformer", "image tokenizer", "text encoder"}


def test_a_directory_of_the_image_tokenizer_may_be_given(tmp_path: Path) -> None:
    weights = shape_only_file(tmp_path / "t2i_XL_stage1_256.pt")
    write_text_encoder(tmp_path / "flan-t5-xl", 2048, torch.Generator())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(WorkerError, match=r"vq_ds16_t2i\.pt"):
        read_files(weights, OpenOptions(vq_path=elsewhere))
    official_vq_file(elsewhere / "vq_ds16_t2i.pt", (1, 1, 2, 2, 4))
    assert read_files(weights, OpenOptions(vq_path=elsewhere)).tokenizer is not None


def test_a_tiny_checkpoint_loads_and_generates(tmp_path: Path) -> None:
    write_tiny(["llamagen", "--text", "--out", str(tmp_path), "--seed", "4", "--rows", "3", "--columns", "5"])
    driver = start(tmp_path)
    assert driver.executor.encode_prompt(request_of(driver, "a red cat")).prompt_length == CAPTION_LENGTH
    queries = [(0, slot, DRAW if slot == CAPTION_LENGTH - 1 else NONE) for slot in range(CAPTION_LENGTH)]
    result = driver.forward(Feed(1, queries, [(0, CAPTION_LENGTH)], [0.5], 7.5, 1.0))
    assert 0 <= result.drawn_tokens[0] < 64


@pytest.fixture
def broken(checkpoints: dict[int, Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be broken."""
    return Path(shutil.copytree(checkpoints[CASES[0]["seed"]], tmp_path / "broken"))


def edit_tensors(path: Path, change: Any) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BREAKAGES: dict[str, tuple[Any, str]] = {
    "no text encoder": (
        lambda path: shutil.rmtree(path / "flan-t5-xl"),
        r"flan-t5-xl.*google/flan-t5-xl.*text-encoder",
    ),
    "no encoder config": (lambda path: (path / "flan-t5-xl/config.json").unlink(), r"config\.json is not"),
    "config of another family": (
        lambda path: edit_json(path / "flan-t5-xl/config.json", model_type="llama"),
        r"config\.json is not the configuration of a T5.*'llama'",
    ),
    "config of another size": (
        lambda path: edit_json(path / "flan-t5-xl/config.json", d_ff=64),
        r"wi_0\.weight has the shape \[96, 48\].*needs \[64, 48\]",
    ),
    "no tokenizer": (lambda path: (path / "flan-t5-xl/tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "no JSON": (lambda path: (path / "flan-t5-xl/tokenizer.json").write_text("{"), r"tokenizer\.json is not a tok"),
    "a larger vocabulary": (
        lambda path: edit_json(path / "flan-t5-xl/config.json", vocab_size=50),
        r"tokenizer\.json has \d+ tokens and does not belong",
    ),
    "another end mark": (
        lambda path: edit_json(path / "flan-t5-xl/config.json", eos_token_id=5),
        r"tokenizer\.json.*ends a text with the token 5",
    ),
    "a missing shard": (
        lambda path: (path / "flan-t5-xl/model-00002-of-00002.safetensors").unlink(),
        r"model-00002-of-00002\.safetensors.*is missing",
    ),
    "an encoder of another width": (
        lambda path: write_text_encoder(path / "flan-t5-xl", 32, torch.Generator()),
        r"flan-t5-xl has features of 32 numbers.*reads 48",
    ),
    "no caption projection": (
        lambda path: edit_tensors(
            path / "model.safetensors", lambda state: state.pop("cls_embedding.cap_proj.fc1.weight")
        ),
        r"model\.safetensors lacks 1 tensors.*cap_proj\.fc1",
    ),
    "no unconditional embedding": (
        lambda path: edit_tensors(
            path / "model.safetensors", lambda state: state.pop("cls_embedding.uncond_embedding")
        ),
        r"model\.safetensors lacks 1 tensors.*uncond_embedding",
    ),
    "a tensor too many": (
        lambda path: edit_tensors(
            path / "model.safetensors", lambda state: state.update({"cls_embedding.extra": torch.zeros(2)})
        ),
        r"model\.safetensors holds 1 tensors.*cls_embedding\.extra",
    ),
    "a projection of another shape": (
        lambda path: edit_tensors(
            path / "model.safetensors",
            lambda state: state.update({"cls_embedding.cap_proj.fc2.weight": torch.zeros(64, 65)}),
        ),
        r"fc2\.weight has the shape \[64, 65\]",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), BREAKAGES.values(), ids=BREAKAGES.keys())
def test_a_broken_checkpoint_is_refused_with_file_and_remedy(broken: Path, break_it: Any, message: str) -> None:
    break_it(broken)
    with pytest.raises(WorkerError, match=message) as caught:
        start(broken)
    assert caught.value.code == "checkpoint"


def test_an_image_tokenizer_of_another_codebook_is_refused(broken: Path) -> None:
    official_vq_file(broken / "other.pt", (1, 1), codes=32)
    with pytest.raises(WorkerError, match=r"other\.pt has 32 codes.*has 64") as caught:
        start(broken, vq_path=broken / "other.pt")
    assert caught.value.code == "checkpoint"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"conditioning": "text", "classCount": 3}, "no classCount"), ({"conditioning": "class"}, "a classCount")],
)
def test_a_sidecar_must_say_classes_or_captions(broken: Path, changes: dict[str, object], message: str) -> None:
    content = json.loads((broken / "zipar.json").read_text())
    (broken / "zipar.json").write_text(json.dumps(content | {"config": content["config"] | changes}))
    with pytest.raises(WorkerError, match=message):
        open_family(broken, OpenOptions())


OFFICIAL_ENCODER = TextEncoderSettings(
    model_type="t5",
    d_model=2048,
    d_kv=64,
    d_ff=5120,
    num_layers=24,
    num_heads=32,
    vocab_size=32128,
    feed_forward_proj="gated-gelu",
    relative_attention_num_buckets=32,
)
OFFICIAL_TRANSFORMER = LlamaGenConfig(1280, 36, 20, 20, 16384, CaptionCondition(CAPTION_LENGTH, 2048), 32, 32)


@pytest.fixture
def fake_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    # The read-back is the one place that may wait, and there is nothing to read.
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        yield


def without_content(module: torch.nn.Module, name: str, keys: KeyMap = NO_RULES) -> Checkpoint:
    shapes = stored_shapes(module, keys).values()
    return Checkpoint(Path(name), {key: torch.empty(shape) for stored in shapes for key, shape in stored.items()})


@pytest.mark.usefixtures("fake_mode")
def test_the_published_shape_runs_on_cuda_in_the_memory_that_was_announced() -> None:
    vq_config = LlamaGenVQConfig()
    with without_weights():
        transformer, decoder = LlamaGenTransformer(OFFICIAL_TRANSFORMER), LlamaGenVQDecoder(vq_config)
    encoder = OpenedTextEncoder(
        Path("flan-t5-xl"), OFFICIAL_ENCODER, without_content(build_encoder(OFFICIAL_ENCODER), "t5"), tiny_tokenizer()
    )
    opened = model_of(
        Files(
            name="LlamaGen-XL text-to-image",
            checkpoint=without_content(transformer, "t2i.pt", KEYS),
            config=OFFICIAL_TRANSFORMER,
            tokenizer=ImageTokenizer(without_content(decoder, "vq.pt"), vq_config),
            text_encoder=encoder,
            class_names=None,
            defaults=official_defaults(OFFICIAL_TRANSFORMER),
        )
    )
    description = opened.describe(torch.bfloat16)
    family: Any = opened.load(dtype=torch.bfloat16, device=CUDA, report=quiet)
    modules = {
        "transformer": family.transformer,
        "image tokenizer": family.image_decoder,
        "text encoder": family.prompts._text_encoder._model,
    }
    counted = {part: sum(value.nbytes for value in module.parameters()) for part, module in modules.items()}
    assert counted == description.weight_bytes
    assert counted["text encoder"] == pytest.approx(2.45e9, rel=0.02)

    executor = TorchExecutor()
    executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
    stored = sum(tensor.nbytes for tensor in [*executor._cache.keys, *executor._cache.values])
    assert stored == pytest.approx(2 * description.slot_count * 180 * 1024, rel=0.02)

    rows, columns = OFFICIAL_TRANSFORMER.rows, OFFICIAL_TRANSFORMER.columns
    executor.encode_prompt(encode_request(rows, columns, "a red cat"))
    first = CAPTION_LENGTH
    prompt = [(0, slot, DRAW if slot == first - 1 else NONE) for slot in range(first)]
    prefill = Feed(1, prompt, [(0, first)], [0.5], 7.5, 1.0, 1000)
    assert executor.forward(forward_request(executor, [prefill])).shape == (2 * 3,)
    slots = [first + row * columns + 14 - row for row in range(14)]
    runs = [(0, slots[0] + 1), *((first + row * columns, slot + 1) for row, slot in enumerate(slots) if row)]
    step = Feed(1, [(5, slot, DRAW) for slot in slots], runs, [0.5] * 14, 7.5, 1.0, 1000)
    outcome: Any = executor.forward(forward_request(executor, [step]))
    assert outcome.device == CUDA
    assert outcome.shape == (2 * 3 * 14,)
    pixels: Tensor = family.decode_image(torch.zeros(rows, columns, dtype=torch.int64, device=CUDA))
    assert pixels.shape == (16 * rows, 16 * columns, 3)
