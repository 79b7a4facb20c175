"""The Liquid family on a tiny checkpoint in the official format: tokens, pixels, prompts, and every way to fail.

fixtures/liquid_official.json says how the official code was run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import Driver, start
from spoiling import Spoilt, check_refused, cut, edit, flip_bits, rewrite, set_fields, without
from token_images import encode_request, generate_raster

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.liquid.facts import MAXIMAL_PROMPT_TOKENS
from zipar_worker.families.liquid.prompt import LiquidTokenizer
from zipar_worker.wire.protocol import HubSource, TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "liquid_official.json").read_text())
CODE_COUNT = 64
ROWS = 6
VQ = Path("chameleon")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("liquid") / "Liquid_V1_7B"
    write_tiny(["liquid", "--out", str(directory), "--seed", "5"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / tiny.name)


@pytest.fixture(scope="module")
def driver(tiny: Path) -> Driver:
    return start(tiny, image_count=1)


def encode(driver: Driver, prompt: str, *, negative_prompt: str | None = None, rows: int = ROWS) -> Any:
    return driver.executor.encode_prompt(encode_request(rows, rows, prompt, negative_prompt))


@pytest.mark.parametrize("case", OFFICIAL["generated"], ids=lambda case: f"guidance {case['guidance']}")
@torch.inference_mode()
def test_greedy_tokens_equal_those_of_the_official_code(driver: Driver, case: dict[str, Any]) -> None:
    assert generate_raster(driver, encode_request(ROWS, ROWS, case["prompt"]), case["guidance"]) == case["tokens"]


@torch.inference_mode()
def test_pixels_equal_those_of_the_official_decoder(driver: Driver) -> None:
    family = driver.executor._family
    assert family is not None
    codes = torch.tensor(OFFICIAL["generated"][0]["tokens"]).view(ROWS, ROWS)
    pixels = family.decode_image(codes).permute(2, 0, 1)
    assert pixels.shape == (3, 16 * ROWS, 16 * ROWS)
    expected = OFFICIAL["pixels"]
    torch.testing.assert_close(pixels[:, ::12, ::12].flatten(), torch.tensor(expected["corner"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.mean((1, 2)), torch.tensor(expected["mean"]), atol=1e-4, rtol=0)


def test_prompts_have_the_official_ids(tiny: Path) -> None:
    tokenizer = LiquidTokenizer(tiny / "tokenizer.json")
    assert len(OFFICIAL["prompts"]) > 250
    for case in OFFICIAL["prompts"]:
        assert tokenizer.conditional(case["prompt"]) == case["ids"] + OFFICIAL["suffix"], case["prompt"]
    assert tokenizer.unconditional() == OFFICIAL["unconditional"]


@pytest.mark.parametrize(
    "name", ["<boi>", "<eoi>", "<unconditional>", "<bos>", "<eos>", "<pad>", "<unused4>", "<start_of_turn>", "[@BOS@]"]
)
def test_a_prompt_that_spells_a_control_token_stays_text(tiny: Path, name: str) -> None:
    tokenizer = LiquidTokenizer(tiny / "tokenizer.json")
    names = json.loads((tiny / "tokenizer.json").read_bytes())["model"]["vocab"]
    ids = tokenizer.conditional(f"a {name} b")
    assert names[name] not in ids[1:-1]
    spelled = "".join(next(text for text, token in names.items() if token == number) for number in ids[1:-1])
    assert name in spelled


def test_a_tokenizer_that_takes_a_word_for_a_control_token_is_not_trusted(copy: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_bytes())
    content["model"]["ignore_merges"] = True
    content["normalizer"] = None
    content["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WorkerError, match="spells the control token '<boi>'") as caught:
        LiquidTokenizer(copy / "tokenizer.json").conditional("<boi>")
    assert caught.value.code == "prompt"


def test_the_branches_are_padded_to_one_length_and_count_positions_from_their_own_start(driver: Driver) -> None:
    encoded = encode(driver, "an otter")
    driver.executor.release([1])
    assert [(branch.name, branch.padding, branch.position_offset) for branch in encoded.branches] == [
        ("conditional", 0, 0),
        ("unconditional", encoded.prompt_length - 3, encoded.prompt_length - 3),
    ]


def test_prompts_that_the_model_cannot_take_are_refused(driver: Driver) -> None:
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        encode(driver, "q" * MAXIMAL_PROMPT_TOKENS)
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match="takes no negative prompt") as caught:
        encode(driver, "an otter", negative_prompt="blurry")
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match=r"makes grids of 6 x 6 tokens, received 7 x 7") as caught:
        encode(driver, "an otter", rows=7)
    assert caught.value.code == "bad-request"


def test_the_card_tells_the_official_defaults(tiny: Path) -> None:
    description = open_family(tiny, OpenOptions()).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.name, card.row_end, card.code_count) == ("liquid", "Liquid_V1_7B", "none", CODE_COUNT)
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    defaults = card.defaults
    assert (defaults.guidance_scale, defaults.temperature, defaults.top_p, defaults.window) == (7.0, 0.99, 0.96, 6)
    assert (card.grids[0].width, card.grids[0].rows) == (16 * ROWS, ROWS)
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + ROWS * ROWS
    # Two layers of four heads of 16 numbers, wider than their share of 48.
    assert card.kv_bytes_per_slot == 2 * 2 * 64 * 2


def test_the_image_tokenizer_may_lie_elsewhere_or_nowhere(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / VQ, tmp_path / "meta")
    for place in (tmp_path / "meta", tmp_path / "meta" / "vqgan.ckpt"):
        card = open_family(copy, OpenOptions(vq_path=place)).describe(torch.float32).card
        assert card.image_decoder is not None
    card = open_family(copy, OpenOptions()).describe(torch.float32).card
    assert card.image_decoder is None
    # Meta's: 512 pixels of 16 a token.
    assert (card.grids[0].rows, card.grids[0].columns, card.grids[0].width) == (32, 32, 512)


def test_a_name_on_the_hub_brings_the_image_tokenizer() -> None:
    vq = companions_of(HubSource(repository="Junfeng5/Liquid_V1_7B", path=None, revision=None)).vq
    assert vq is not None
    assert vq.path == "tokenizer"


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_both_names_of_gemmas_activation_mean_the_approximation(copy: Path, activation: str) -> None:
    edit(copy / "config.json", '"hidden_act": "gelu"', f'"hidden_act": "{activation}"')
    opened = open_family(copy, OpenOptions())
    assert opened.transformer.module.decoder.config.gate == "gelu-tanh"


@torch.inference_mode()
def test_a_head_of_its_own_is_used_and_told(copy: Path) -> None:
    rewrite(copy, lambda state: state | {"lm_head.weight": -state["model.embed_tokens.weight"]})
    opened = open_family(copy, OpenOptions())
    assert "its own head, although tie_word_embeddings is true" in opened.describe(torch.float32).card.name
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    transformer: Any = opened.transformer.module
    ids = transformer.code_ids
    torch.testing.assert_close(transformer.logits(torch.eye(48)).T, -transformer.embedding(ids), atol=1e-6, rtol=1e-5)


UP = "model.layers.1.mlp.up_proj.weight"
SPOILT: dict[str, Spoilt] = {
    "a missing tensor": (
        lambda path: rewrite(path, lambda state: without(state, UP)),
        r"model\.safetensors lacks 1 tensors.*layers\.1\.mlp\.up_proj\.weight",
    ),
    "a tensor too many": (
        lambda path: rewrite(path, lambda state: state | {"model.layers.0.mlp.up_proj.bias": torch.zeros(3)}),
        r"model\.safetensors holds 1 tensors that this model has no place for: model\.layers\.0\.mlp\.up",
    ),
    "a tensor of another shape": (
        lambda path: rewrite(path, lambda state: state | {UP: state[UP][:50]}),
        r"model\.safetensors: the tensor model\.layers\.1\.mlp\.up_proj\.weight has the shape \[50, 48\]",
    ),
    "an embedding without codes": (
        lambda path: rewrite(
            path, lambda state: state | {"model.embed_tokens.weight": state["model.embed_tokens.weight"][:-CODE_COUNT]}
        ),
        r"the tensor model\.embed_tokens\.weight has the shape",
    ),
    "no embedding": (
        lambda path: rewrite(path, lambda state: without(state, "model.embed_tokens.weight")),
        r"model\.safetensors lacks .*model\.embed_tokens\.weight",
    ),
    "a missing shard": (
        lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
        r"model-00002-of-00002\.safetensors.*missing",
    ),
    "flipped bits": (
        lambda path: flip_bits(path / "model-00001-of-00002.safetensors"),
        r"model-00001-of-00002\.safetensors",
    ),
    "a cut shard": (
        lambda path: cut(path / "model-00001-of-00002.safetensors"),
        r"model-00001-of-00002\.safetensors",
    ),
    "no weights": (
        lambda path: [file.unlink() for file in path.glob("model*")],
        r"holds no weights: expected model\.safetensors",
    ),
    "exact GELU": (
        lambda path: set_fields(path / "config.json", hidden_activation="gelu"),
        r"config\.json cannot be used: its hidden_activation is 'gelu'; expected null or 'gelu_pytorch_tanh'",
    ),
    "another activation": (
        lambda path: set_fields(path / "config.json", hidden_act="relu"),
        r"its activation is 'relu'; expected 'silu' or 'gelu_pytorch_tanh'",
    ),
    "scaled positions": (
        lambda path: set_fields(path / "config.json", rope_scaling={"type": "linear", "factor": 2.0}),
        r"config\.json cannot be used: it scales its positions by 'linear'",
    ),
    "biases": (
        lambda path: set_fields(path / "config.json", attention_bias=True),
        r"config\.json cannot be used: its projections have biases",
    ),
    "a negative size": (
        lambda path: set_fields(path / "config.json", hidden_size=-1),
        r"config\.json cannot be used",
    ),
    "heads that cannot be shared": (
        lambda path: set_fields(path / "config.json", num_key_value_heads=3),
        r"4 heads of 16, 3 of them with own K and V",
    ),
    "heads of another size": (
        lambda path: set_fields(path / "config.json", head_dim=8),
        r"q_proj\.weight has the shape \[64, 48\]; this model needs \[32, 48\]",
    ),
    "more layers than tensors": (
        lambda path: set_fields(path / "config.json", num_hidden_layers=900),
        r"config\.json asks for 900 layers, but .* holds \d+ tensors",
    ),
    "few positions": (
        lambda path: set_fields(path / "config.json", max_position_embeddings=512),
        r"config\.json cannot be used: it gives the model 512 positions; a prompt and its image take 548",
    ),
    "a config that is none": (lambda path: (path / "config.json").write_text("[]"), r"Expected `object`, got `array`"),
    "no room for images": (
        lambda path: set_fields(path / "config.json", vocab_size=300),
        r"config\.json gives the model a vocabulary of 300.*leave none for images.*Gemma itself does not draw",
    ),
    "another number of codes": (
        lambda path: edit(path / VQ / "vqgan.yaml", "n_embed: 64", "n_embed: 63"),
        r"vqgan\.yaml has 63 codes, but .*config\.json names 64 image tokens",
    ),
    "codes of another size": (
        lambda path: edit(path / VQ / "vqgan.yaml", "embed_dim: 16", "embed_dim: 8"),
        r"vqgan\.ckpt: the tensor quantize\.embedding\.weight has the shape \[64, 16\]",
    ),
    "a resolution of no whole tokens": (
        lambda path: edit(path / VQ / "vqgan.yaml", "resolution: 96", "resolution: 100"),
        r"vqgan\.yaml cannot be used: its resolution of 100 pixels is no whole number of tokens",
    ),
    "a resolution beyond reason": (
        lambda path: edit(path / VQ / "vqgan.yaml", "resolution: 96", "resolution: 9600000"),
        r"vqgan\.yaml cannot be used: its resolution of 9600000 pixels",
    ),
    "a Python object in the YAML": (
        lambda path: edit(path / VQ / "vqgan.yaml", "model:", "model: !!python/name:os.system\nother:"),
        r"vqgan\.yaml is no configuration of Chameleon's image tokenizer",
    ),
    "no vqgan.yaml": (lambda path: (path / VQ / "vqgan.yaml").unlink(), r"lacks vqgan\.yaml"),
    "weights that are no vqgan": (
        lambda path: torch.save({"state_dict": {"a": torch.zeros(64 * 64)}}, path / VQ / "vqgan.ckpt"),
        r"vqgan\.(yaml|ckpt)",
    ),
    "no tokenizer": (
        lambda path: (path / "tokenizer.json").unlink(),
        r"holds no tokenizer\.json.*Junfeng5/Liquid_V1_7B, not from Gemma.*--text-encoder DIR",
    ),
    "an empty tokenizer": (
        lambda path: (path / "tokenizer.json").write_text("{}"),
        r"tokenizer\.json is no tokenizer file",
    ),
    "the tokenizer of Gemma": (
        lambda path: edit(path / "tokenizer.json", "<unconditional>", "<unused2>"),
        r"tokenizer\.json lacks the tokens <unconditional>.*such as Gemma itself",
    ),
    "a tokenizer with a gap": (
        lambda path: edit(path / "tokenizer.json", '"the": ', '"the": 9'),
        r"tokenizer\.json is damaged: expected its \d+ tokens to have the ids 0 to \d+",
    ),
    "merges of nothing": (
        lambda path: edit(path / "tokenizer.json", '"merges": [', '"merges": [["q", "zzz"],'),
        r"tokenizer\.json is no tokenizer that can be used",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_checkpoint_is_refused_with_the_file_and_the_reason(copy: Path, name: str) -> None:
    check_refused(copy, SPOILT[name], OpenOptions())
