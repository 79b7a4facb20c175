"""STAR on a tiny checkpoint in the official format: tokens, pixels, prompts, and every way to fail.

fixtures/star_official.json says how the official code was run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import Driver, start
from full_size import Wavefront, check_an_image, empty_checkpoint, fake_gpu, load
from safetensors.torch import load_file, save_file
from spoiling import Spoilt, check_refused, cut, edit, set_fields, without
from test_chameleon_vq import seeded_state
from token_images import encode_request, generate_raster
from torch import Tensor

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_testing.tiny.star import QWEN_NAME, tiny_tokenizer
from zipar_worker.checkpoints.weights import Checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.star.facts import MAXIMAL_PROMPT_TOKENS, model_of
from zipar_worker.families.star.files import DEFAULTS, Files
from zipar_worker.families.star.prompt import StarTokenizer
from zipar_worker.families.star.transformer import StarTransformer, star_keys
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder, config_of_tensors
from zipar_worker.wire.protocol import HubSource, TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "star_official.json").read_text())
CODE_COUNT = 64
SIDE = 6
SIZE = (16 * SIDE, 16 * SIDE)
OPTIONS = OpenOptions(size=SIZE)
WEIGHTS = "STAR-7B.pt"
VQ = "VQ-Model.pt"
CONFIG = f"{QWEN_NAME}/config.json"
TOKENIZER = f"{QWEN_NAME}/tokenizer.json"
QWEN_WEIGHTS = f"{QWEN_NAME}/model.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("star") / "checkpoints"
    write_tiny(["star", "--out", str(directory), "--seed", "5"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / tiny.name)


@pytest.fixture(scope="module")
def driver(tiny: Path) -> Driver:
    return start(tiny, image_count=1, dtype="float32", size=SIZE)


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> StarTokenizer:
    return StarTokenizer(tiny / TOKENIZER)


@pytest.mark.parametrize("case", OFFICIAL["images"], ids=lambda case: f"guidance {case['guidance']}")
@torch.inference_mode()
def test_greedy_tokens_and_pixels_equal_those_of_the_official_code(driver: Driver, case: dict[str, Any]) -> None:
    assert generate_raster(driver, encode_request(SIDE, SIDE, case["prompt"]), case["guidance"]) == case["codes"]
    assert len(set(case["codes"])) > 4
    assert driver.executor._family is not None
    pixels = driver.executor._family.decode_image(torch.tensor(case["codes"]).view(SIDE, SIDE))
    assert pixels.shape == (*SIZE, 3)
    torch.testing.assert_close(pixels.flatten()[::53], torch.tensor(case["pixels"]), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_image_tokenizer_has_attention_of_eight_heads() -> None:
    case = OFFICIAL["vq"]
    config = LlamaGenVQConfig(24, 8, 32, (1, 2), 1, 48, attention_heads=8, has_unit_codes=False)
    decoder = LlamaGenVQDecoder(config)
    state = seeded_state({name: parameter.shape for name, parameter in decoder.named_parameters()}, case["seed"])
    decoder.load_state_dict(state)
    assert config_of_tensors(Checkpoint(Path("vq"), state)).channel_multipliers == (1, 2)
    pixels = decoder.decode(torch.tensor(case["tokens"]).view(1, case["rows"], case["columns"]))
    torch.testing.assert_close(pixels.flatten(), torch.tensor(case["decoded"]), atol=1e-4, rtol=0)


def test_both_branches_have_the_official_ids(tokenizer: StarTokenizer) -> None:
    assert len(OFFICIAL["prompts"]) > 250
    for case in OFFICIAL["prompts"]:
        ids = tokenizer.conditional(case["prompt"])
        assert ids == case["ids"], case["prompt"]
        if "without" in case:
            assert tokenizer.without_condition(ids) == case["without"]
    assert sum("without" in case for case in OFFICIAL["prompts"]) == 20


@pytest.mark.parametrize("name", ["<|im_end|>", "<|vision_start|>", "<|fim_pad|>", "<tool_call>", "<|endoftext|>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tokenizer: StarTokenizer, name: str) -> None:
    own = tiny_tokenizer().token_to_id(name)
    plain, spelt = tokenizer.conditional("a b"), tokenizer.conditional(f"a {name} b")
    assert spelt.count(own) == plain.count(own)
    assert len(spelt) > len(plain) + 3


def test_both_branches_are_equally_long_and_nothing_in_them_is_left_padding(driver: Driver) -> None:
    encoded = driver.executor.encode_prompt(encode_request(SIDE, SIDE, "an otter"))
    driver.executor.release([1])
    assert [(branch.name, branch.padding, branch.position_offset) for branch in encoded.branches] == [
        ("conditional", 0, 0),
        ("unconditional", 0, 0),
    ]


def test_prompts_that_the_model_cannot_take_are_refused(driver: Driver) -> None:
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        driver.executor.encode_prompt(encode_request(SIDE, SIDE, "q" * MAXIMAL_PROMPT_TOKENS))
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match="takes no negative prompt") as caught:
        driver.executor.encode_prompt(encode_request(SIDE, SIDE, "an otter", "blurry"))
    assert caught.value.code == "prompt"


def test_the_card_tells_the_official_size_and_defaults(tiny: Path) -> None:
    description = open_family(tiny / WEIGHTS, OpenOptions()).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.name, card.row_end, card.code_count) == ("star", "STAR-7B", "none", CODE_COUNT)
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    defaults = card.defaults
    assert (defaults.guidance_scale, defaults.temperature, defaults.top_p, defaults.window) == (1.1, 1.0, 0.8, 8)
    assert [(grid.rows, grid.columns, grid.width, grid.height) for grid in card.grids] == [(24, 24, 384, 384)]
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + 576
    # Four layers of both stacks, two heads of 8 numbers with their own K and V.
    assert card.kv_bytes_per_slot == 4 * 2 * 2 * 8 * 2


@pytest.mark.parametrize("size", [(100, 100), (96, 192), (0, 0)])
def test_a_size_that_is_no_square_of_whole_tokens_is_refused(tiny: Path, size: tuple[int, int]) -> None:
    with pytest.raises(WorkerError, match=r"is a size of no STAR\. Expected a square in steps of 16 pixels"):
        open_family(tiny, OpenOptions(size=size))


def test_the_parts_may_lie_elsewhere(copy: Path, tmp_path: Path) -> None:
    for name in (VQ, QWEN_NAME):
        (tmp_path / "elsewhere" / name).parent.mkdir(exist_ok=True)
        shutil.move(copy / name, tmp_path / "elsewhere" / name)
    elsewhere = tmp_path / "elsewhere"
    for vq in (elsewhere, elsewhere / VQ):
        options = OpenOptions(size=SIZE, vq_path=vq, text_encoder_path=elsewhere / QWEN_NAME)
        open_family(copy, options).load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)


@torch.inference_mode()
def test_what_the_file_of_star_holds_stands_for_qwens_and_the_image_tokenizers_own(copy: Path) -> None:
    language = load_file(copy / QWEN_WEIGHTS)
    vq = torch.load(copy / VQ, weights_only=True)
    whole = {f"llm.{key}": -tensor for key, tensor in language.items()}
    whole |= {f"pixel_encoder.{key}": -tensor for key, tensor in vq.items()}
    rewrite(copy, lambda state: state | whole)
    (copy / QWEN_WEIGHTS).unlink()
    (copy / VQ).unlink()
    opened = open_family(copy, OPTIONS)
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    transformer: Any = opened.transformer.module
    assert torch.equal(transformer.embedding.weight, -language["model.embed_tokens.weight"])
    assert torch.equal(transformer.codebook.weight, -vq["quantize.embedding.weight"])
    assert opened.image_tokenizer is not None


@pytest.mark.parametrize("name", ["MM-MVR/STAR-3B", "MM-MVR/STAR-7B", "MM-MVR/STAR-7B/STAR-7B.pt"])
def test_a_name_on_the_hub_brings_the_other_parts(name: str) -> None:
    owner, repository, *rest = name.split("/")
    path = rest[0] if rest else None
    companions = companions_of(HubSource(repository=f"{owner}/{repository}", path=path, revision=None))
    assert companions.vq is not None
    assert (companions.vq.repository, companions.vq.path) == ("MM-MVR/STAR-VQ", VQ)
    assert companions.text_encoder is not None
    assert companions.text_encoder.repository == f"Qwen/Qwen2.5-VL-{repository[-2:]}-Instruct"


def rewrite(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    state = torch.load(directory / WEIGHTS, weights_only=True)["state_dict"]
    torch.save({"state_dict": change(state)}, directory / WEIGHTS)


def rewrite_vq(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    torch.save(change(torch.load(directory / VQ, weights_only=True)), directory / VQ)


def rewrite_qwen(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    state = {key: tensor.clone() for key, tensor in load_file(directory / QWEN_WEIGHTS).items()}
    save_file(change(state), directory / QWEN_WEIGHTS)


def without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}


class Forbidden:
    """What a pickle must not be able to name."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("called",))


UP = "stacked_ar.model.layers.1.mlp.up_proj.weight"
SPOILT: dict[str, Spoilt] = {
    "a missing tensor of the upper stack": (
        lambda path: rewrite(path, lambda state: without(state, UP)),
        r"STAR-7B\.pt lacks 1 tensors.*stacked_ar\.model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    "a missing bias": (
        lambda path: rewrite(path, lambda state: without(state, "stacked_ar.model.layers.0.self_attn.k_proj.bias")),
        r"lacks 1 tensors.*k_proj\.bias",
    ),
    "no upper stack": (
        lambda path: rewrite(path, lambda state: without_prefix(state, "stacked_ar.")),
        r"STAR-7B\.pt lacks stacked_ar\.model\.layers\.0.*It is no STAR",
    ),
    "no norm of the upper stack": (
        lambda path: rewrite(path, lambda state: without(state, "stacked_ar.model.norm.weight")),
        r"lacks 1 tensors.*stacked_ar\.model\.norm\.weight",
    ),
    "no head": (
        lambda path: rewrite(path, lambda state: without_prefix(state, "pixel_output_head.")),
        r"STAR-7B\.pt lacks 2 tensors.*pixel_output_head",
    ),
    "a head without a bias": (
        lambda path: rewrite(path, lambda state: without(state, "pixel_output_head.bias")),
        r"lacks 1 tensors.*pixel_output_head\.bias",
    ),
    "a head for other codes": (
        lambda path: rewrite(path, lambda state: state | {"pixel_output_head.weight": torch.ones(60, 32)}),
        r"pixel_output_head\.weight has the shape \[60, 32\]; this model needs \[64, 32\]",
    ),
    "no adapter": (
        lambda path: rewrite(path, lambda state: without_prefix(state, "pixel_adapter.")),
        r"its adapter \(pixel_adapter\.layers\) has the shapes \[\]; expected maps from the 16.*to the 32",
    ),
    "an adapter for another width": (
        lambda path: rewrite(path, lambda state: state | {"pixel_adapter.layers.4.weight": torch.ones(48, 32)}),
        r"its adapter .*\[48, 32\].*Take all three parts of one size",
    ),
    "a tensor too many": (
        lambda path: rewrite(path, lambda state: state | {"stacked_ar.model.extra": torch.zeros(3)}),
        r"holds 1 tensors that this model has no place for: stacked_ar\.model\.extra",
    ),
    "a tensor of another shape": (
        lambda path: rewrite(path, lambda state: state | {UP: state[UP][:50]}),
        r"stacked_ar\.model\.layers\.1\.mlp\.up_proj\.weight has the shape \[50, 32\]",
    ),
    "a pickle that names functions": (
        lambda path: torch.save({"state_dict": {"a": Forbidden()}}, path / WEIGHTS),
        r"STAR-7B\.pt",
    ),
    "a file that is no pickle": (lambda path: (path / WEIGHTS).write_bytes(b"nothing"), r"STAR-7B\.pt"),
    "a cut file": (
        lambda path: cut(path / WEIGHTS),
        r"STAR-7B\.pt",
    ),
    "no Qwen2.5-VL": (
        lambda path: shutil.rmtree(path / QWEN_NAME),
        r"holds no directory of the Qwen2\.5-VL that STAR-7B\.pt was made of.*--text-encoder DIR",
    ),
    "no weights of Qwen2.5-VL": (
        lambda path: (path / QWEN_WEIGHTS).unlink(),
        r"Qwen2\.5-VL-7B-Instruct holds no weights",
    ),
    "a layer of Qwen2.5-VL that is missing": (
        lambda path: rewrite_qwen(path, lambda state: without(state, "model.layers.1.mlp.up_proj.weight")),
        r"lacks 1 tensors.*llm\.model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    "another Qwen": (
        lambda path: set_fields(path / CONFIG, model_type="qwen2"),
        r"config\.json describes a model of the type 'qwen2'; expected Qwen2\.5-VL",
    ),
    "no config.json": (lambda path: (path / CONFIG).unlink(), r"config\.json cannot be read"),
    "scaled positions": (
        lambda path: set_fields(path / CONFIG, rope_scaling={"type": "yarn", "factor": 4.0}),
        r"config\.json cannot be used: it scales its positions by 'yarn'",
    ),
    "a sliding window": (
        lambda path: set_fields(path / CONFIG, use_sliding_window=True),
        r"config\.json cannot be used: its attention sees a sliding window",
    ),
    "few positions": (
        lambda path: set_fields(path / CONFIG, max_position_embeddings=512),
        r"gives the model 512 positions; a prompt and its image take 548",
    ),
    "a size of another Qwen2.5-VL": (
        lambda path: set_fields(path / CONFIG, hidden_size=64),
        r"expected maps from the 16 numbers of a code to the 64",
    ),
    "more layers than tensors": (
        lambda path: set_fields(path / CONFIG, num_hidden_layers=900),
        r"config\.json asks for 900 layers",
    ),
    "a vocabulary too small": (
        lambda path: set_fields(path / CONFIG, vocab_size=100),
        r"config\.json cannot be used: it gives the model a vocabulary of 100, but .*tokenizer\.json has the token",
    ),
    "no tokenizer": (lambda path: (path / TOKENIZER).unlink(), r"tokenizer\.json.*cannot be read"),
    "an empty tokenizer": (
        lambda path: (path / TOKENIZER).write_text("{}"),
        r"tokenizer\.json is no tokenizer file",
    ),
    "a tokenizer without padding": (
        lambda path: edit(path / TOKENIZER, "<|fim_pad|>", "<|other|>"),
        r"tokenizer\.json lacks the tokens <\|fim_pad\|> that prompts of STAR need",
    ),
    "no image tokenizer": (
        lambda path: (path / VQ).unlink(),
        r"The image tokenizer .*VQ-Model\.pt does not exist.*MM-MVR/STAR-VQ.*--vq FILE",
    ),
    "an image tokenizer with other codes": (
        lambda path: rewrite_vq(path, lambda state: state | {"quantize.embedding.weight": torch.ones(60, 16)}),
        r"pixel_output_head\.weight has the shape \[64, 32\]; this model needs \[60, 32\]",
    ),
    "an image tokenizer with codes of another length": (
        lambda path: rewrite_vq(path, lambda state: state | {"quantize.embedding.weight": torch.ones(64, 12)}),
        r"its adapter .* expected maps from the 12 numbers of a code",
    ),
    "a block that is missing in the image tokenizer": (
        lambda path: rewrite_vq(path, lambda state: without(state, "decoder.conv_blocks.1.res.0.conv2.weight")),
        r"VQ-Model\.pt lacks 1 tensors.*conv_blocks\.1\.res\.0\.conv2\.weight",
    ),
    "an image tokenizer whose attention is cut": (
        lambda path: rewrite_vq(path, lambda state: without(state, "decoder.mid.1.q.weight")),
        r"VQ-Model\.pt lacks 1 tensors.*decoder\.mid\.1\.q\.weight",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_checkpoint_is_refused_with_the_file_and_the_reason(copy: Path, name: str) -> None:
    check_refused(copy, SPOILT[name], OPTIONS)


def test_the_full_size_waits_for_nothing_in_the_memory_that_was_described(tokenizer: StarTokenizer) -> None:
    """STAR-7B on a GPU that is not there: see `full_size.py`."""
    image_tokenizer = LlamaGenVQConfig(65536, 512, 256, (1, 2, 2, 4, 8), 2, 512, 8, has_unit_codes=False)
    widths = (512, *[3584] * 4)
    with fake_gpu():
        with without_weights():
            decoder = LlamaGenVQDecoder(image_tokenizer)
        files = Files(
            name="STAR-7B",
            checkpoint=Checkpoint(Path("STAR-7B.pt"), {}),
            config_path=Path("config.json"),
            config=DEFAULTS,
            stacked_layer_count=14,
            adapter_widths=widths,
            image_tokenizer=image_tokenizer,
            image_tokenizer_checkpoint=empty_checkpoint(decoder, torch.float32),
            tokenizer=tokenizer,
            size=None,
        )
        shape = model_of(files).transformer.module.decoder.config
        with without_weights():
            transformer = StarTransformer(shape, DEFAULTS.vocab_size, 1e6, 65536, widths)
        checkpoint = empty_checkpoint(transformer, torch.bfloat16, star_keys(28, 14))
        opened = model_of(
            Files(**{name: getattr(files, name) for name in Files.__slots__} | {"checkpoint": checkpoint})
        )
        model = load(opened, kv_bytes_per_slot=2 * 42 * 4 * 128 * 2)
        assert (model.description.card.defaults.top_k, model.description.slot_count) == (1000, 512 + 576)
        check_an_image(model, 24, Wavefront(row_count=3, lag=8, column=22), (1.1, 1.0, 1000, 0.8), pixels=384)
