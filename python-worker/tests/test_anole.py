"""The Anole family on tiny checkpoints in both published layouts: tokens, pixels, prompts, and every way to fail.

fixtures/anole_official.json says how the official code was run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DRAW, NONE, Driver, Feed, start
from spoiling import Spoilt, check_refused, edit, rewrite, set_fields, without
from token_images import encode_request, generate_raster
from torch import Tensor
from transformers import ChameleonConfig, ChameleonModel

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.sources import resolve_model
from zipar_worker.checkpoints.weights import open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.anole.facts import MAXIMAL_PROMPT_TOKENS
from zipar_worker.families.anole.prompt import AnoleTokenizer
from zipar_worker.families.description import OpenOptions
from zipar_worker.wire.protocol import HubSource, ModelReference, TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "anole_official.json").read_text())
CODE_COUNT = 64
ROWS = 6
MODEL = Path("models/7b")
LAYOUTS = {"meta": [], "meta, fused": ["--fused"], "hf": ["--layout", "hf"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in every layout."""
    folder = tmp_path_factory.mktemp("anole")
    paths = {layout: folder / layout / "Anole-7b-v0.1" for layout in LAYOUTS}
    for layout, path in paths.items():
        write_tiny(["anole", "--out", str(path), "--seed", "5", *LAYOUTS[layout]])
    return paths


@pytest.fixture
def meta(tiny: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny["meta"], tmp_path / "Anole-7b-v0.1")


@pytest.fixture
def hub(tiny: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny["hf"], tmp_path / "Anole-7b-v0.1-hf")


def encode(driver: Driver, prompt: str, *, negative_prompt: str | None = None) -> Any:
    return driver.executor.encode_prompt(encode_request(ROWS, ROWS, prompt, negative_prompt))


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_greedy_tokens_and_pixels_of_two_branches_equal_the_official_ones_of_three(
    tiny: dict[str, Path], layout: str
) -> None:
    driver = start(tiny[layout], image_count=1)
    for case in OFFICIAL["generated"]:
        assert generate_raster(driver, encode_request(ROWS, ROWS, case["prompt"]), 3.0) == case["tokens"]
    family = driver.executor._family
    assert family is not None
    codes = torch.tensor(OFFICIAL["generated"][0]["tokens"]).view(ROWS, ROWS)
    pixels = family.decode_image(codes).permute(2, 0, 1)
    expected = OFFICIAL["pixels"]
    torch.testing.assert_close(pixels[:, ::12, ::12].flatten(), torch.tensor(expected["corner"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.mean((1, 2)), torch.tensor(expected["mean"]), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_logits_equal_those_of_transformers_chameleon(tiny: dict[str, Path]) -> None:
    path = tiny["hf"]
    fields = json.loads((path / "config.json").read_bytes())
    model = ChameleonModel(ChameleonConfig(**{key: fields[key] for key in fields if key != "model_type"})).eval()
    state = {name.removeprefix("model."): tensor for name, tensor in open_checkpoint(path).tensors.items()}
    missing, _ = model.load_state_dict({name: t for name, t in state.items() if "vqmodel" not in name}, strict=False)
    assert all(name.startswith("vqmodel.") for name in missing)
    tokenizer = AnoleTokenizer(path / "tokenizer.json")
    ids = tokenizer.conditional("a red cube on the table")
    theirs = model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1] @ state["lm_head.weight"].T
    # Guided with scale 1 there is one branch alone.
    expected = int(theirs[list(tokenizer.codes)].argmax())
    driver = start(path, image_count=1)
    length = encode(driver, "a red cube on the table").prompt_length
    queries = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    assert driver.forward(Feed(1, queries, [(0, length)], [0.5], 1.0)).drawn_tokens[0] == expected


@torch.inference_mode()
def test_both_layouts_decode_the_same_pixels(tiny: dict[str, Path]) -> None:
    codes = torch.randint(CODE_COUNT, (3, 5), generator=torch.Generator().manual_seed(1))
    pixels = []
    for layout in ("meta", "hf"):
        opened = open_family(tiny[layout], OpenOptions())
        family = opened.load(dtype=torch.bfloat16, device=torch.device("cpu"), report=lambda *_: None)
        pixels.append(family.decode_image(codes))
    torch.testing.assert_close(pixels[0], pixels[1], atol=0, rtol=0)


@pytest.mark.parametrize("name", ["text_tokenizer.json", "tokenizer.json"])
def test_prompts_have_the_official_ids(tiny: dict[str, Path], name: str) -> None:
    tokenizer = AnoleTokenizer((tiny["meta"] / "tokenizer" if name[0:2] == "te" else tiny["hf"]) / name)
    assert len(OFFICIAL["prompts"]) > 250
    for case in OFFICIAL["prompts"]:
        assert tokenizer.conditional(case["prompt"]) == case["ids"], case["prompt"]
    assert tokenizer.unconditional() == OFFICIAL["unconditional"]


@pytest.mark.parametrize("name", ["<reserved08706>", "</s>", "<s>", "<racm3:break>", "IMGIMGBCZ", "<eoss>", "<image>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tiny: dict[str, Path], name: str) -> None:
    tokenizer = AnoleTokenizer(tiny["hf"] / "tokenizer.json")
    names = json.loads((tiny["hf"] / "tokenizer.json").read_bytes())["model"]["vocab"]
    first_text = min(token for text, token in names.items() if len(text) == 1)
    assert all(token >= first_text for token in tokenizer.conditional(f"a {name} b")[1:-2])


def test_the_branches_are_padded_to_one_length_and_count_positions_from_their_own_start(tiny: dict[str, Path]) -> None:
    encoded = encode(start(tiny["meta"], image_count=1), "an otter")
    assert [(branch.name, branch.padding, branch.position_offset) for branch in encoded.branches] == [
        ("conditional", 0, 0),
        ("unconditional", encoded.prompt_length - 2, encoded.prompt_length - 2),
    ]


def test_prompts_that_the_model_cannot_take_are_refused(tiny: dict[str, Path]) -> None:
    driver = start(tiny["meta"], image_count=1)
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        encode(driver, "q" * MAXIMAL_PROMPT_TOKENS)
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match="takes no negative prompt"):
        encode(driver, "an otter", negative_prompt="blurry")


@pytest.mark.parametrize("layout", ["meta", "hf"])
def test_the_card_tells_the_official_defaults_and_the_stricter_licence(tiny: dict[str, Path], layout: str) -> None:
    description = open_family(tiny[layout], OpenOptions()).describe(torch.bfloat16)
    card, defaults = description.card, description.card.defaults
    assert (card.family, card.row_end, card.code_count) == ("anole", "none", CODE_COUNT)
    assert card.name == "Anole-7b-v0.1 (Chameleon Research License, for noncommercial research alone)"
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    assert (defaults.guidance_scale, defaults.temperature, defaults.top_k, defaults.top_p) == (3.0, 0.7, 0, 0.9)
    assert (card.grids[0].width, card.grids[0].rows) == (16 * ROWS, ROWS)
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + ROWS * ROWS


def test_the_folder_of_the_model_alone_finds_the_tokenizers_beside_it(meta: Path, tmp_path: Path) -> None:
    card = open_family(meta / MODEL, OpenOptions()).describe(torch.float32).card
    assert card.image_decoder is not None
    assert card.name.startswith("Anole-7b-v0.1 (")
    shutil.move(meta / "tokenizer", tmp_path / "elsewhere")
    options = OpenOptions(vq_path=tmp_path / "elsewhere")
    assert open_family(meta / MODEL, options).describe(torch.float32).card.image_decoder is not None


def test_a_name_on_the_hub_stands_for_the_folder_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, str | None]] = []

    def fetch(source: HubSource, *_: object, **__: object) -> Path:
        fetched.append((source.repository, source.path))
        return Path("/snapshot")

    monkeypatch.setattr("zipar_worker.checkpoints.sources.fetch", fetch)
    for path in (None, "models/7b"):
        weights = HubSource(repository="GAIR/Anole-7b-v0.1", path=path, revision=None)
        model = ModelReference(weights=weights, vq=None, text_encoder=None, size=None, weights_key=None)
        resolve_model(model, companions_of(weights), lambda *_: None)
    names = {("GAIR/Anole-7b-v0.1", "models/7b"), ("GAIR/Anole-7b-v0.1", "tokenizer")}
    assert (set(fetched), len(fetched)) == (names, 4)


def test_a_folder_of_the_hubs_cache_has_the_name_of_its_repository(meta: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--GAIR--Anole-7b-v0.1" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    card = open_family(meta.rename(snapshot) / MODEL, OpenOptions()).describe(torch.float32).card
    assert card.name.startswith("Anole-7b-v0.1 (")


def test_a_llama_in_metas_layout_is_no_anole(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": -1}')
    (tmp_path / "consolidated.00.pth").write_bytes(b"")
    with pytest.raises(WorkerError, match="is no checkpoint of a family that this version knows"):
        open_family(tmp_path, OpenOptions())


def test_a_checkpoint_without_its_decoder_is_known_by_name_and_takes_metas(meta: Path, hub: Path) -> None:
    rewrite(hub, lambda state: {name: tensor for name, tensor in state.items() if "vqmodel.decoder" not in name})
    opened = open_family(hub, OpenOptions())
    assert (opened.family, opened.image_tokenizer) == ("anole", None)
    opened = open_family(hub, OpenOptions(vq_path=meta / "tokenizer"))
    assert opened.image_tokenizer is not None


def test_a_decoder_among_the_weights_tells_an_anole_whatever_its_name(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert open_family(hub.rename(tmp_path / "a" / "b" / "mine"), OpenOptions()).family == "anole"


def rewrite_meta(directory: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = directory / MODEL / "consolidated.pth"
    torch.save(change(torch.load(path, weights_only=True)), path)


def set_params(path: Path, **fields: object) -> None:
    params = json.loads((path / MODEL / "params.json").read_text())
    (path / MODEL / "params.json").write_text(json.dumps(params | {"model": params["model"] | fields}))


def set_vq(path: Path, **fields: object) -> None:
    config = json.loads((path / "config.json").read_text())
    set_fields(path / "config.json", vq_config=config["vq_config"] | fields)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


WQ = "layers.1.attention.wq.weight"
TEXT = Path("tokenizer/text_tokenizer.json")
YAML = Path("tokenizer/vqgan.yaml")
SPOILT_META: dict[str, Spoilt] = {
    "a missing tensor": (
        lambda path: rewrite_meta(path, lambda state: without(state, WQ)),
        r"consolidated\.pth lacks 1 tensors.*layers\.1\.attention\.wq\.weight",
    ),
    "a tensor too many": (
        lambda path: rewrite_meta(path, lambda state: state | {"layers.0.attention.wq.bias": torch.zeros(3)}),
        r"consolidated\.pth holds 1 tensors that this model has no place for: layers\.0\.attention\.wq\.bias",
    ),
    "a tensor of another shape": (
        lambda path: rewrite_meta(path, lambda state: state | {WQ: state[WQ][:32]}),
        r"the tensor layers\.1\.attention\.wq\.weight has the shape \[32, 64\]; this model needs \[64, 64\]",
    ),
    "head norms of another size": (
        lambda path: rewrite_meta(
            path, lambda state: state | {"layers.0.attention.q_normalization.weight": torch.ones(8)}
        ),
        r"q_normalization\.weight has the shape",
    ),
    "a head of another size": (
        lambda path: rewrite_meta(path, lambda state: state | {"output.weight": state["output.weight"][:50]}),
        r"the tensor output\.weight has the shape \[50, 64\]",
    ),
    "cut weights": (lambda path: cut(path / MODEL / "consolidated.pth"), r"consolidated\.pth"),
    "no weights": (
        lambda path: (path / MODEL / "consolidated.pth").unlink(),
        r"models/7b holds no consolidated\.pth.*GAIR/Anole-7b-v0\.1",
    ),
    "a model in parts": (
        lambda path: set_fields(path / MODEL / "consolidate_params.json", model_parallel_size=4),
        r"consolidate_params\.json says that the model is split into 4 parts",
    ),
    "a width that no tensor has": (
        lambda path: set_params(path, dim=1 << 20),
        r"params\.json asks for a width of",
    ),
    "a negative width": (lambda path: set_params(path, dim=-4), r"params\.json cannot be used.*dim"),
    "no vocabulary size": (
        lambda path: (path / MODEL / "params.json").write_text('{"model": {"dim": 64}}'),
        r"params\.json cannot be used.*vocab_size",
    ),
    "cut params": (
        lambda path: (path / MODEL / "params.json").write_text('{"model": {"dim"'),
        r"params\.json cannot be used",
    ),
    "a model that is a list": (
        lambda path: (path / MODEL / "params.json").write_text('{"model": [1]}'),
        r"params\.json cannot be used: expected an object under 'model'",
    ),
    "heads that cannot be shared": (
        lambda path: set_params(path, n_heads=7),
        r"params\.json cannot be used: a width of 64 cannot be shared by 7 heads",
    ),
    "layers beyond the weights": (lambda path: set_params(path, n_layers=3), r"lacks \d+ tensors.*layers\.2"),
    "no head norms": (
        lambda path: set_params(path, qk_normalization=False),
        r"no place for.*_normalization",
    ),
    "another feed-forward": (
        lambda path: set_params(path, multiple_of=256),
        r"feed_forward\.w1\.weight has the shape \[192, 64\]; this model needs \[256, 64\]",
    ),
    "a small vocabulary": (
        lambda path: set_params(path, vocab_size=100),
        r"text_tokenizer\.json has tokens up to \d+, but .*params\.json gives the model a vocabulary of 100",
    ),
    "no tokenizer": (
        lambda path: (path / TEXT).unlink(),
        r"holds neither tokenizer\.json nor tokenizer/text_tokenizer\.json.*--text-encoder DIR",
    ),
    "the tokenizer of another model": (
        lambda path: edit(path / TEXT, "<reserved08706>", "<other>"),
        r"text_tokenizer\.json lacks the tokens <reserved08706>.*take the tokenizer of GAIR/Anole-7b-v0\.1",
    ),
    "codes with a gap": (
        lambda path: edit(path / TEXT, "IMGIMGAZ", "IMGIMGGGGZ"),
        r"text_tokenizer\.json is not Chameleon's vocabulary",
    ),
    "an empty tokenizer": (lambda path: (path / TEXT).write_text("{}"), r"text_tokenizer\.json is no tokenizer file"),
    "another number of codes": (
        lambda path: edit(path / YAML, "n_embed: 64", "n_embed: 63"),
        r"vqgan\.yaml has 63 codes, but .*text_tokenizer\.json names 64 image tokens",
    ),
    "a resolution beyond the positions": (
        lambda path: edit(path / YAML, "resolution: 96", "resolution: 4096"),
        r"params\.json cannot be used: it gives the model 4096 positions; a prompt and its image take 66048",
    ),
    "no vqgan.yaml": (lambda path: (path / YAML).unlink(), r"lacks vqgan\.yaml"),
}
CONV = "model.vqmodel.decoder.conv_in.weight"
SPOILT_HUB: dict[str, Spoilt] = {
    "a missing tensor": (
        lambda path: rewrite(path, lambda state: without(state, "model.norm.weight")),
        r"model\.safetensors lacks 1 tensors.*model\.norm\.weight",
    ),
    "a decoder that lacks a tensor": (
        lambda path: rewrite(path, lambda state: without(state, CONV)),
        r"model\.safetensors lacks 1 tensors.*decoder\.conv_in\.weight",
    ),
    "a decoder tensor of another shape": (
        lambda path: rewrite(path, lambda state: state | {CONV: state[CONV][:, :8]}),
        r"decoder\.conv_in\.weight has the shape",
    ),
    "a tensor too many": (
        lambda path: rewrite(path, lambda state: state | {"model.extra.weight": torch.zeros(3)}),
        r"no place for: model\.extra\.weight",
    ),
    "norms that no heads can share": (
        lambda path: rewrite(path, lambda state: state | {"model.layers.0.self_attn.q_norm.weight": torch.ones(3, 16)}),
        r"q_norm\.weight has the shape \[3, 16\]; this model needs \[4, 16\]",
    ),
    "a missing shard": (
        lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
        r"model-00002-of-00002\.safetensors.*missing",
    ),
    "another activation": (
        lambda path: set_fields(path / "config.json", hidden_act="gelu"),
        r"config\.json cannot be used: its activation is 'gelu'",
    ),
    "another number of codes": (
        lambda path: set_vq(path, num_embeddings=63),
        r"config\.json cannot be used: its vq_config has 63 codes, but the tokenizer names 64 image tokens",
    ),
    "another decoder": (
        lambda path: set_vq(path, base_channels=33),
        r"its vq_config describes another decoder than Chameleon's.*received 33, vanilla and 96",
    ),
    "a codebook of another width": (
        lambda path: set_vq(path, embed_dim=8),
        r"quantize\.embedding\.weight has the shape \[64, 16\]",
    ),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), r"holds neither tokenizer\.json"),
    "a vq_config that is none": (
        lambda path: set_fields(path / "config.json", vq_config=[1]),
        r"config\.json cannot be used",
    ),
}


@pytest.mark.parametrize("name", SPOILT_META)
def test_a_spoilt_checkpoint_of_metas_layout_is_refused_with_the_file_and_the_reason(meta: Path, name: str) -> None:
    check_refused(meta, SPOILT_META[name], OpenOptions())


@pytest.mark.parametrize("name", SPOILT_HUB)
def test_a_spoilt_checkpoint_of_the_other_layout_is_refused_with_the_file_and_the_reason(hub: Path, name: str) -> None:
    check_refused(hub, SPOILT_HUB[name], OpenOptions())


def test_chameleon_itself_is_refused(meta: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(WorkerError, match=r"is Meta's Chameleon, which was not trained to draw"):
        open_family(meta.rename(tmp_path / "a" / "b" / "chameleon-7b"), OpenOptions())
